"""A neighbour that takes memory and gives it back at random while speech goes on, under the eyes of the real daemon.

On a CPU the daemon reads a cgroup whose numbers are written here: nobody takes anything, the modules leave all the
same. On a GPU a process of its own takes the device's memory from the driver, a piece at a time.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from benchmarks.load.run_end import RunEnd
from benchmarks.neighbour_machines import DriverHog, child, probe
from tests.fakes.fake_cgroup import FakeCgroup

GB: Final = 10**9
TOTAL_BYTES: Final = 8 * GB
MARKS_GB: Final = {"critical": 1, "low": 2, "high": 3}
ROOMY_BYTES: Final = 7 * GB
TIGHT_BYTES: Final = (GB // 2, 3 * GB // 2)
"""Below `critical`, and between it and `low`."""

STEP_BYTES: Final = GB // 2
"""Of what the neighbour takes at once: no more than `critical`, so that the daemon has time to answer."""

STEP_SECONDS: Final = 0.5
STEPS_MOST: Final = 24
HOLD_SECONDS: Final = (1.0, 5.0)
NUMBERS: Final = {
    "GREENROOM_DAEMON_POLICY__GRACE_SECONDS": "0.5",
    "GREENROOM_DAEMON_POLICY__COOL_DOWN_SECONDS": "0.5",
    "GREENROOM_DAEMON_POLICY__MINIMUM_RESIDENCE_SECONDS": "0.5",
    "GREENROOM_DAEMON_POLICY__MINIMUM_ABSENCE_SECONDS": "0.5",
    **{f"GREENROOM_DAEMON_POLICY__{name.upper()}": f"{size}GB" for name, size in MARKS_GB.items()},
}


class Squeezed(StrEnum):
    """Whose memory gets short."""

    NONE = "none"
    HOST = "host"
    DEVICE = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Who takes memory. `leave` leaves about so much free, `release` gives everything back."""

    daemon_env: Mapping[str, str]
    leave: Callable[[int], None]
    release: Callable[[], None]

    async def squeeze(self, source: random.Random, run_end: RunEnd, told: Callable[[str], None]) -> None:
        """Take and give until the run is over."""
        try:
            while await run_end.sleep(source.uniform(*HOLD_SECONDS)):
                free_bytes = source.choice(TIGHT_BYTES)
                await asyncio.to_thread(self.leave, free_bytes)
                told("squeezes below critical" if free_bytes == TIGHT_BYTES[0] else "squeezes below low")
                await run_end.sleep(source.uniform(*HOLD_SECONDS))
                await asyncio.to_thread(self.release)
        finally:
            self.release()


@contextmanager
def neighbour(kind: Squeezed, folder: Path) -> Iterator[Neighbour | None]:
    """Give a neighbour; None for none. Of several GPUs it takes the first one's memory."""
    match kind:
        case Squeezed.NONE:
            yield None
        case Squeezed.HOST:
            yield _beside_host(folder)
        case Squeezed.DEVICE:
            with ExitStack() as stack:
                yield _beside_device(stack)


def _beside_host(folder: Path) -> Neighbour:
    cgroup = FakeCgroup(folder / "cgroup", limit_bytes=TOTAL_BYTES, used_bytes=TOTAL_BYTES - ROOMY_BYTES)
    watched = {"GREENROOM_DAEMON_MEMORY": "host", "GREENROOM_DAEMON_CGROUP_ROOT": str(cgroup.folder)}
    return Neighbour(
        daemon_env=watched | NUMBERS,
        leave=lambda free_bytes: cgroup.use(TOTAL_BYTES - free_bytes),
        release=lambda: cgroup.use(TOTAL_BYTES - ROOMY_BYTES),
    )


def _beside_device(stack: ExitStack) -> Neighbour:
    reader = probe(stack)
    device = str(reader.ask("devices")[0])
    hog = DriverHog(child(stack, "tests.fakes.hog_process", device))

    def free_bytes_now() -> int:
        return int(reader.ask(f"sample {device}")["free"])

    def leave(free_bytes: int) -> None:
        """Take all but what the daemon leaves alone at once, and the rest in steps that it has time to answer."""
        hog.take(max(STEP_BYTES, free_bytes_now() - ROOMY_BYTES))
        for _ in range(STEPS_MOST):
            if free_bytes_now() - STEP_BYTES < free_bytes or hog.take(STEP_BYTES):
                return
            time.sleep(STEP_SECONDS)

    return Neighbour(daemon_env={"GREENROOM_DAEMON_MEMORY": "gpu"} | NUMBERS, leave=leave, release=hog.free_all)
