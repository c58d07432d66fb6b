"""The machine of `benchmarks.neighbour` on a GPU: the real service, the real daemon, a hog at the driver."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.long_weights import long_folder
from benchmarks.neighbour_machines import DriverHog, Machine, child, machine, probe
from benchmarks.neighbour_speech import ServedSpeaker
from benchmarks.served_model import ServedModel
from benchmarks.speaking import stub_of
from greenroom.memory.v1 import residency_pb2
from tools.process import wait_governed
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize

RESTING: Final = ("s3gen.tokenizer", "s3gen.speaker_encoder", "voice_encoder", "watermark.detector")
"""Kept at home while they are idle, so that there is something that speech does not need."""

TOKENS: Final = 100
READY_SECONDS: Final = 150.0


@contextmanager
def served_machine(folder: Path, cache: Path | None, daemon_env: Mapping[str, str]) -> Iterator[Machine]:
    """Run the real service and the real daemon on the GPU."""
    model = ChatterboxModel.ENGLISH
    weights = long_folder(cached_folder(synthetic_source(NetworkSize.FULL), model, cache or CACHE), model)
    rest = {"GREENROOM_SERVICE_RESIDENCY__REST": json.dumps(dict.fromkeys(RESTING, "device"))}
    told = {"GREENROOM_DAEMON_MEMORY": "gpu", **daemon_env}
    served = ServedModel(model, weights, folder, device="cuda", service_env=rest, daemon_env=told)
    both = served.both
    both.ready_seconds = READY_SECONDS
    try:
        with ExitStack() as stack:
            stack.callback(both.stop)
            print(f"  service is ready after {served.start()['ready_seconds']:.1f} s", flush=True)
            both.daemon.start()
            wait_governed(both.daemon, both.control_socket)
            # Whoever makes a voice uses what makes voices, so that the daemon will bring it home again.
            speech = asyncio.run(_config(served))
            both.daemon.until(lambda: bool(both.status().services[0].device))
            device = both.status().services[0].device
            yield machine(
                stack,
                device=device,
                probe=probe(stack),
                hog=DriverHog(child(stack, "tests.fakes.hog_process", device)),
                speaker=ServedSpeaker(both.speech_address, speech),
                report=both.residency,
                waits=lambda: _waits_of(both.residency()),
                journal=both.folder / "state" / "greenroom" / "daemon" / "journal",
                daemon_pid=both.daemon.pid,
            )
    except BaseException:
        print(both.service.log_tail(40) if both.service.log_path.exists() else "the service never began")
        print(both.daemon.log_tail(40) if both.daemon.log_path.exists() else "the daemon never began", flush=True)
        raise


def _waits_of(report: residency_pb2.ResidencyReport) -> tuple[int, float]:
    return report.restore_waits, report.restore_wait_duration.ToNanoseconds() / 1e9


async def _config(served: ServedModel) -> Any:
    async with stub_of(served.both.speech_address) as stub:
        return served.config(await served.voice(stub), tokens=TOKENS, seed=1)
