"""What modules in arenas survive on a real device: a hog, clients that vanish, moves at any point, captures, faults.

    python -m benchmarks.survival                 on the first GPU, in less than a minute
    python -m benchmarks.survival --device cpu    the same over a driver in host memory, in seconds

Each trial prints what it saw; the exit status is 1 if one of them failed. Networks are stacks of matrices: what matters
here is when they move, not what they compute.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog
import torch

from benchmarks.survival_rig import SCRATCH, A, B, Rig
from tts_service.errors import Reason, ServiceError
from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.types import ModuleState, Tier, Urgency

SPEAKERS: Final = 4
PATIENCE_SECONDS: Final = 20.0
HOGGED_SECONDS: Final = 0.6


class TrialFailedError(Exception):
    """A trial has seen what must not be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all trials and print them; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rounds", type=int, default=200, help="of moves under load")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: --device cpu runs the same over a driver in host memory")
        return 1
    failed = 0
    for name, trial in TRIALS.items():
        began = time.perf_counter()
        with Rig.on(options.device) as rig:
            try:
                seen = trial(rig, options.rounds)
            except (TrialFailedError, ServiceError) as error:
                failed, seen = failed + 1, f"FAILED: {error}"
        print(f"{name:34} {time.perf_counter() - began:6.2f} s  {seen}", flush=True)
    return 1 if failed else 0


def hog_that_leaves(rig: Rig, rounds: int) -> str:
    """Let a restore wait for a hog to leave; whoever has what is there speaks meanwhile."""
    del rounds
    rig.place(A, Tier.HOST)
    with speaking(rig, (B,), threads=1) as spoken:
        with rig.hog():
            ready = rig.manager.prepare({A})
            time.sleep(HOGGED_SECONDS)
            _check(not ready.done(), "the restore did not meet the hog")
            during = len(spoken)
        left = time.perf_counter()
        ready.result(PATIENCE_SECONDS)
        seconds = time.perf_counter() - left
    _check(during > 0, "nobody spoke beside the hog")
    rig.check(A)
    return f"back {1000 * seconds:.0f} ms after the hog had left; {during} steps of another module beside it"


def hog_that_stays(rig: Rig, rounds: int) -> str:
    """Let a hog stay: the request is refused for memory when its time is up, and nothing is broken."""
    del rounds
    rig.place(A, Tier.HOST)
    with rig.hog():
        error = rig.manager.prepare({A}).exception(PATIENCE_SECONDS)
        state = rig.status(A).state
    _check(isinstance(error, ServiceError) and error.reason is Reason.DEVICE_MEMORY, f"refused with {error!r}")
    _check(state is ModuleState.RESTING, f"the module is {state}")
    rig.check(A)
    return f"{error}"


def clients_that_vanish(rig: Rig, rounds: int) -> str:
    """Ask for a module and give up, at any moment of its restore: nothing is held."""
    for number in range(rounds // 4):
        rig.place(A, Tier.HOST)
        ready = rig.manager.prepare({A})
        time.sleep(0.0002 * (number % 5))
        ready.cancel()
    report = rig.manager.report()
    _check(not any(each.leases or each.claims for each in report.modules), "something is held")
    rig.check(A)
    return f"{rounds // 4} gave up during a restore; nothing is held"


def moves_under_load(rig: Rig, rounds: int) -> str:
    """Send modules away again and again while threads always have one: each gets its turn, no bit changes."""
    with speaking(rig, (A, B), threads=SPEAKERS) as spoken:
        for _ in range(rounds):
            rig.direct({A: Tier.HOST, B: Tier.HOST}, urgency=Urgency.WHEN_UNLEASED)
            time.sleep(0.001)
            rig.manager.set_directive(None)
        evictions = rig.status(A).evictions + rig.status(B).evictions
    _check(evictions > 0, "nothing has left")
    return f"{evictions} evictions under {len(spoken)} steps, every one with the right bits"


def captures_beside_moves(rig: Rig, rounds: int) -> str:
    """Capture and replay graphs while another module moves and their own memory goes and comes."""
    ends = threading.Event()

    def move() -> None:
        while not ends.is_set():
            rig.direct({B: Tier.HOST, SCRATCH: Tier.HOST}, urgency=Urgency.WHEN_UNLEASED)
            time.sleep(0.0005)
            rig.direct({B: Tier.DEVICE}, urgency=Urgency.WHEN_UNLEASED)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for number in range(max(4, rounds // 20)):
            _check(rig.captured_and_replayed(f"work {number}", number), "a graph gave other bits")
    finally:
        ends.set()
        mover.join()
    status = rig.status(B)
    return f"{max(4, rounds // 20)} captures beside {status.restores + status.evictions} moves"


def fault_in_the_middle(rig: Rig, rounds: int) -> str:
    """Let a call fail on the way: it breaks its module alone, and the next request brings it back."""
    del rounds
    rig.place(A, Tier.HOST)
    with rig.failing("copy", DeviceDriverError("cuMemcpyHtoDAsync", "made to fail")):
        error = rig.manager.prepare({A}).exception(PATIENCE_SECONDS)
    state = rig.status(A).state
    _check(isinstance(error, ServiceError) and error.reason is Reason.ENGINE_FAULT, f"refused with {error!r}")
    _check(state is ModuleState.BROKEN, f"the module is {state}")
    rig.check(B)
    rig.check(A)
    return "broken, told, and brought back by the next request; the other module never noticed"


TRIALS: Final[Mapping[str, Callable[[Rig, int], str]]] = {
    "a hog that leaves": hog_that_leaves,
    "a hog that stays": hog_that_stays,
    "clients that vanish": clients_that_vanish,
    "evictions under constant load": moves_under_load,
    "captures while modules move": captures_beside_moves,
    "a driver error in a restore": fault_in_the_middle,
}


@contextmanager
def speaking(rig: Rig, names: Sequence[Any], *, threads: int) -> Iterator[list[float]]:
    """Let threads compute all the time, and check every result; gives the times of their steps."""
    ends, steps, errors = threading.Event(), list[float](), list[BaseException]()

    def speak(name: Any) -> None:
        try:
            while not ends.is_set():
                rig.check(name)
                steps.append(time.perf_counter())
        except BaseException as error:  # noqa: BLE001 - told below, in the thread that asks.
            errors.append(error)

    working = [threading.Thread(target=speak, args=(names[number % len(names)],)) for number in range(threads)]
    for thread in working:
        thread.start()
    try:
        yield steps
    finally:
        ends.set()
        for thread in working:
            thread.join()
    _check(not errors, f"a speaker failed: {errors[:1]}")


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - what is checked.
    if not holds:
        raise TrialFailedError(message)


def _dropped(logger: Any, method: str, event: Any) -> Any:
    del logger, method, event
    raise structlog.DropEvent


if __name__ == "__main__":
    # What goes wrong here goes wrong on purpose; the trials say what came of it.
    structlog.configure(processors=[_dropped])
    sys.exit(main())
