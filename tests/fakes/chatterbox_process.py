"""Real services that speak with Chatterbox's models of tiny weights, alone: nobody governs them."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc
from greenroom_client.sync import Client
from greenroom_client.values import NewVoice
from tests.fakes.governor_client import GovernorClient, directive_request
from tests.fakes.recordings import recording, sound_file
from tools.both import Both

LINGER_SECONDS = 0.5
PATIENCE_SECONDS = 20.0
"""Far more than anything takes; only a broken test waits so long."""

SPEECH = ("t3", "s3gen.flow", "s3gen.vocoder", "watermark.encoder")
ENCODERS = ("s3gen.tokenizer", "s3gen.speaker_encoder", "voice_encoder")

Report = residency_pb2.ResidencyReport


def tiny_service(folder: Path, cache_dir: Path, model: str) -> Both:
    """Return a service that is not started; `cache_dir` keeps weights from one to the next."""
    own = {
        "CACHE_DIR": str(cache_dir),
        "LOG_FORMAT": "json",
        "RESIDENCY__LINGER_SECONDS": str(LINGER_SECONDS),
        "RESIDENCY__MINIMUM_STAY_SECONDS": "0",
        # How much a busy machine can bear is no part of what is tested with these.
        "ADMISSION__BY_COST": "false",
    }
    env = {f"GREENROOM_SERVICE_{name}": value for name, value in own.items()}
    return Both(folder, model=model, weights="synthetic:tiny", service_env=env)


@contextmanager
def serving(services: Iterable[Both]) -> Iterator[None]:
    """Start services side by side, wait until all of them speak, and stop them in the end."""
    started: list[Both] = []
    try:
        for each in services:
            started.append(each)
            each.service.start()
        for each in started:
            each.wait_serving()
        yield
    finally:
        for each in started:
            each.stop()


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until something holds; say whether it came to."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return False


def busy(report: Report) -> dict[str, tuple[int, int]]:
    """Return the leases and claims of the modules that have any."""
    return {each.module: (each.leases, each.claims) for each in report.modules if each.leases or each.claims}


def away(report: Report, modules: Iterable[str]) -> bool:
    """Say whether all of these modules are where they cannot compute."""
    tiers = {each.module: each.tier for each in report.modules if each.tier != each.home}
    return tiers.keys() >= set(modules)


def counted(report: Report, counter: str, modules: Iterable[str]) -> dict[str, int]:
    """Return a counter of some modules, such as "restores"."""
    counts = {each.module: getattr(each, counter) for each in report.modules}
    return {module: counts[module] for module in modules}


def voices_of(client: Client, count: int) -> list[NewVoice]:
    """Make so many voices, each of a recording of its own; the same ones every time."""
    return [client.create_voice(sound_file(recording(5.0, seed=10 + number))) for number in range(count)]


def placed(both: Both, modules: Iterable[str], tier: residency_pb2.Tier.ValueType) -> dict[str, str]:
    """Place modules; return why those that have not moved yet have not."""
    with grpc.insecure_channel(f"unix:{both.control_socket}") as channel:
        control = residency_pb2_grpc.ResidencyServiceStub(channel)
        requests = (residency_pb2.PlaceModuleRequest(module=module, tier=tier) for module in modules)
        answers = [control.PlaceModule(request, timeout=PATIENCE_SECONDS) for request in requests]
    return {each.module.module: each.pending_reason for each in answers if each.pending_reason}


@contextmanager
def driven_out(both: Both, modules: Iterable[str]) -> Iterator[None]:
    """Govern the service for a while so that these modules leave for the disk after every single step."""
    with grpc.insecure_channel(f"unix:{both.control_socket}") as channel:
        governor = GovernorClient(channel)
        epoch = governor.hello("test").epoch
        urgent = residency_pb2.URGENCY_WHEN_UNLEASED
        request = directive_request(epoch, 1, *((module, residency_pb2.TIER_DISK) for module in modules))
        for each in request.directive.placements:
            each.urgency = urgent
        request.directive.valid_for.seconds = 60
        governor.send(request)
        governor.read_until(lambda response: response.HasField("ack"))
        try:
            yield
        finally:
            governor.direct(epoch, 2, valid_for_seconds=1.0)
            governor.leave()
    assert eventually(lambda: not both.residency().accepted_version)
