"""A machine for rehearsals of `benchmarks.neighbour`: the real daemon beside a service and a hog that only book memory.

The daemon reads NVML through a library of ours that tells what the books say.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.neighbour_machines import MB, Child, Machine, child, machine, probe
from benchmarks.neighbour_speech import Utterance
from greenroom.memory.v1 import residency_pb2
from tests.fakes.daemon_process import DaemonProcess
from tests.fakes.fake_service import FakeService
from tests.fakes.hog_process import OUT_OF_MEMORY
from tests.fakes.nvml_library import NvmlState, compiled

GPU: Final = "GPU-booked"
TOTAL_BYTES: Final = 8_000 * MB
IDLE: Final = {"tokenizer": 500 * MB, "encoder": 60 * MB}
SPEECH: Final = {"t3": 1_060 * MB, "flow": 300 * MB}

STEP_SECONDS: Final = 0.04
BOOKED_SECONDS: Final = 1.0
TURN_STEPS: Final = 12
"""A segment's tokens take about half a second."""
PATIENT_STEPS: Final = 12
"""So many steps in a row without its modules, and a playback has run out of audio."""


class BookedGpu:
    """A GPU of which a hog and a service book memory; what is free is told through the library of ours."""

    def __init__(self, tell: Callable[[str], None], hog: Child) -> None:
        self._tell = tell
        self._process = hog
        self._lock = threading.Lock()
        self._hog_bytes = 0
        self._service_bytes = 0
        self._book()

    def __repr__(self) -> str:
        return f"<BookedGpu {self.free_bytes() // MB} MB free>"

    def free_bytes(self) -> int:
        """Return what nobody has booked."""
        return max(0, TOTAL_BYTES - self._hog_bytes - self._service_bytes)

    def hold(self, size_bytes: int) -> None:
        """Book what the service holds now."""
        with self._lock:
            self._service_bytes = size_bytes
            self._book()

    def take(self, size_bytes: int) -> int:
        """Book more for the hog, if it is there."""
        with self._lock:
            if size_bytes > self.free_bytes():
                return OUT_OF_MEMORY
            status = int(self._process.ask(f"take {size_bytes}"))
            self._hog_bytes += size_bytes
            self._book()
            return status

    def free_all(self) -> None:
        """Give all that the hog has back."""
        with self._lock:
            self._process.ask("free")
            self._hog_bytes = 0
            self._book()

    def _book(self) -> None:
        self._tell(f"gpu {GPU} {TOTAL_BYTES} {self.free_bytes()} 0")


class BookedSpeaker:
    """Uses a fake service's modules at the pace of speech, and waits where there is no room for them to come home.

    Where the budget does not hold them together, they take turns, as a segment's stages do.
    """

    def __init__(self, service: FakeService, modules: Mapping[str, int], free_bytes: Callable[[], int]) -> None:
        self.utterances: list[Utterance] = []
        self.waits = 0
        self._service = service
        self._modules = modules
        self._free_bytes = free_bytes
        self._steps = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __repr__(self) -> str:
        return f"<BookedSpeaker {len(self.utterances)} utterances | {self.waits} waits>"

    def start(self) -> None:
        """Begin to listen, in a thread."""
        for name in self._modules:
            self._service.modules[name].claims = 1
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._ends.set()
        self._thread.join()
        for name in self._modules:
            self._service.modules[name].claims = 0

    def _listen(self) -> None:
        began, waited, underruns = time.time(), 0, 0
        while not self._ends.wait(STEP_SECONDS):
            waited = 0 if self._step() else waited + 1
            self.waits += waited == 1
            underruns += waited == PATIENT_STEPS
            if time.time() - began >= BOOKED_SECONDS:
                found = Utterance(begin_unix_seconds=began, end_unix_seconds=time.time(), underruns=underruns)
                self.utterances.append(found)
                began, underruns = time.time(), 0

    def _step(self) -> bool:
        """Use every module, or the one whose turn it is; tells whether all could be used."""
        self._steps += 1
        for name in self._turn():
            is_away = self._service.tier(name) != residency_pb2.TIER_DEVICE
            if is_away and not (self._service.make_room(name) and self._free_bytes() >= self._modules[name]):
                return False
            self._service.use(name)
        return True

    def _turn(self) -> tuple[str, ...]:
        names, budget_bytes = tuple(self._modules), self._service.budget_bytes
        if budget_bytes is None or sum(self._modules.values()) <= budget_bytes:
            return names
        return (names[self._steps // TURN_STEPS % len(names)],)


@contextmanager
def booked_machine(folder: Path, environment: Mapping[str, str]) -> Iterator[Machine]:
    """Run the real daemon beside a service that moves at once, on a GPU that is only booked."""
    folder.mkdir(parents=True)
    state = NvmlState(folder / "nvml.txt", compiled(folder))
    with ExitStack() as stack:
        gpu = BookedGpu(state.tell, child(stack, "tests.fakes.hog_process"))
        socket = folder / "services" / "speech.sock"
        # What it does not serve, gRPC answers.
        service = FakeService(socket, IDLE | SPEECH, on_held=gpu.hold, gpu=GPU, report_seconds=1.0)  # type: ignore[abstract]  # See above.
        gpu.hold(sum((IDLE | SPEECH).values()))
        for name in IDLE:
            service.use(name)
        daemon = DaemonProcess(folder, "--memory", "gpu", environment={**state.environment, **environment})
        service.start()
        stack.callback(service.stop)
        daemon.start()
        stack.callback(daemon.close)
        service.wait_for(lambda: bool(service.hellos))
        speaker = BookedSpeaker(service, SPEECH, gpu.free_bytes)
        yield machine(
            stack,
            device=GPU,
            probe=probe(stack, state.environment),
            hog=gpu,
            speaker=speaker,
            report=service.report,
            waits=lambda: (speaker.waits, 0.0),
            journal=daemon.state / "journal",
            daemon_pid=daemon.pid,
        )


def probe_environment(folder: Path) -> dict[str, str]:
    """Return what has a process read a GPU that is only told of, for the rehearsal of the sampler."""
    folder.mkdir(parents=True)
    state = NvmlState(folder / "nvml.txt", compiled(folder))
    state.tell(f"gpu {GPU} {TOTAL_BYTES} {TOTAL_BYTES // 2} 0")
    return state.environment
