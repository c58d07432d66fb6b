"""How memory was used since the service started: samples by phase, peaks, means, and what moved.

Neither class is thread-safe: the manager guards them with its lock.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from statistics import median

from tts_service.residency.types import ModuleStatus, Tier
from tts_service.types import ModuleName

SAMPLES_KEPT = 10_000
"""The newest samples that are kept: at one a second and two for moves in a row, more than two quiet hours."""

MOVES_KEPT = 32
"""The newest moves of a module whose median is its move time; one slow disk read does not tilt it."""


class Phase(Enum):
    """What the service was doing when a sample was taken."""

    STARTING = "starting"
    IDLE = "idle"
    SPEAKING = "speaking"
    MOVING = "moving"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """Memory at one moment: the process's resident set, what modules held at home, and what was held of the device.

    `device_bytes` is None without a device.
    """

    unix_seconds: float
    phase: Phase
    process_bytes: int
    home_bytes: int
    device_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseUsage:
    """Memory in one phase; of the device None without one."""

    phase: Phase
    samples: int
    average_process_bytes: int
    peak_process_bytes: int
    average_home_bytes: int
    peak_home_bytes: int
    average_device_bytes: int | None = None
    peak_device_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """How memory was used since the start; `samples` are the newest, oldest first.

    `efficiency` is the share of `all_home_bytes` that was not held on average, 0 (everything stayed) to 1 (nothing
    did). Without a history (`history_kept`), what comes from samples is empty.
    """

    samples: tuple[MemorySample, ...]
    phases: tuple[PhaseUsage, ...]
    peak_process_bytes: int
    peak_home_bytes: int
    average_home_bytes: int
    all_home_bytes: int
    efficiency: float
    restores: int
    evictions: int
    restored_bytes: int
    released_bytes: int
    modules: tuple[ModuleStatus, ...]
    peak_device_bytes: int | None = None
    history_kept: bool = True


@dataclass(slots=True)
class _Sums:
    """Running sums, so that means cover every sample and not only those kept."""

    samples: int = 0
    process_bytes: int = 0
    home_bytes: int = 0
    peak_process_bytes: int = 0
    peak_home_bytes: int = 0
    device_bytes: int | None = None
    peak_device_bytes: int | None = None

    def add(self, sample: MemorySample) -> None:
        """Count a sample in."""
        self.samples += 1
        self.process_bytes += sample.process_bytes
        self.home_bytes += sample.home_bytes
        self.peak_process_bytes = max(self.peak_process_bytes, sample.process_bytes)
        self.peak_home_bytes = max(self.peak_home_bytes, sample.home_bytes)
        if sample.device_bytes is not None:
            self.device_bytes = (self.device_bytes or 0) + sample.device_bytes
            self.peak_device_bytes = max(self.peak_device_bytes or 0, sample.device_bytes)


class MemoryHistory:
    """Samples of memory: the newest as they were, all of them as sums. It can be told to keep none."""

    def __init__(self, *, keeps: bool = True) -> None:
        self.keeps = keeps
        self._samples: deque[MemorySample] = deque(maxlen=SAMPLES_KEPT)
        self._all = _Sums()
        self._by_phase = {phase: _Sums() for phase in Phase}

    def __repr__(self) -> str:
        return f"<MemoryHistory {self._all.samples} samples | peak {self._all.peak_process_bytes >> 20} MiB>"

    def record(self, sample: MemorySample) -> None:
        """Take a sample in, if any are kept."""
        if not self.keeps:
            return
        self._samples.append(sample)
        self._all.add(sample)
        self._by_phase[sample.phase].add(sample)

    def report(self, modules: tuple[ModuleStatus, ...], tally: "MoveTally", *, max_samples: int) -> MemoryReport:
        """Put everything together with the modules as they are now."""
        all_home_bytes = sum(module.home_bytes for module in modules)
        average_home_bytes = _mean(self._all.home_bytes, self._all.samples)
        return MemoryReport(
            samples=tuple(self._samples)[-max_samples:],
            phases=tuple(_usage(phase, sums) for phase, sums in self._by_phase.items() if sums.samples),
            peak_process_bytes=self._all.peak_process_bytes,
            peak_home_bytes=self._all.peak_home_bytes,
            average_home_bytes=average_home_bytes,
            all_home_bytes=all_home_bytes,
            efficiency=_efficiency(average_home_bytes, all_home_bytes) if self._all.samples else 0.0,
            restores=sum(module.restores for module in modules),
            evictions=sum(module.evictions for module in modules),
            restored_bytes=tally.restored_bytes,
            released_bytes=tally.released_bytes,
            modules=modules,
            peak_device_bytes=self._all.peak_device_bytes,
            history_kept=self.keeps,
        )


class MoveTally:
    """What moved, how often and how long it took, and who had to wait for it."""

    def __init__(self) -> None:
        self.restored_bytes = 0
        self.released_bytes = 0
        self.restore_waits = 0
        self.restore_wait_seconds = 0.0
        self._restore_seconds: dict[tuple[ModuleName, Tier], deque[float]] = {}
        self._evict_seconds: dict[ModuleName, deque[float]] = {}
        self._restores: dict[ModuleName, int] = {}
        self._evictions: dict[ModuleName, int] = {}

    def __repr__(self) -> str:
        restores, evictions = sum(self._restores.values()), sum(self._evictions.values())
        return f"<MoveTally {restores} restores | {evictions} evictions | {self.restore_waits} waits>"

    def restored(self, module: ModuleName, *, home_bytes: int, seconds: float, source: Tier = Tier.DISK) -> None:
        """Count a restore."""
        self.restored_bytes += home_bytes
        self._restores[module] = self.restores(module) + 1
        self.timed(module, seconds=seconds, source=source)

    def timed(self, module: ModuleName, *, seconds: float, source: Tier) -> None:
        """Note how long it takes to bring a module home from a tier."""
        self._restore_seconds.setdefault((module, source), deque(maxlen=MOVES_KEPT)).append(seconds)

    def evicted(self, module: ModuleName, *, released_bytes: int, seconds: float) -> None:
        """Count an eviction and the bytes that it was seen to give back."""
        self.released_bytes += released_bytes
        self._evictions[module] = self.evictions(module) + 1
        self._evict_seconds.setdefault(module, deque(maxlen=MOVES_KEPT)).append(seconds)

    def waited(self, seconds: float) -> None:
        """Count a request that had to wait for a restore."""
        self.restore_waits += 1
        self.restore_wait_seconds += seconds

    def restores(self, module: ModuleName) -> int:
        """Return how often a module came home."""
        return self._restores.get(module, 0)

    def evictions(self, module: ModuleName) -> int:
        """Return how often a module left."""
        return self._evictions.get(module, 0)

    def restore_seconds(self, module: ModuleName, source: Tier = Tier.DISK) -> float | None:
        """Return the median of the last restores from a tier, None before the first."""
        return _median(self._restore_seconds.get((module, source)))

    def evict_seconds(self, module: ModuleName) -> float | None:
        """Return the median of the last evictions, None before the first."""
        return _median(self._evict_seconds.get(module))


def _usage(phase: Phase, sums: _Sums) -> PhaseUsage:
    return PhaseUsage(
        phase=phase,
        samples=sums.samples,
        average_process_bytes=_mean(sums.process_bytes, sums.samples),
        peak_process_bytes=sums.peak_process_bytes,
        average_home_bytes=_mean(sums.home_bytes, sums.samples),
        peak_home_bytes=sums.peak_home_bytes,
        average_device_bytes=None if sums.device_bytes is None else _mean(sums.device_bytes, sums.samples),
        peak_device_bytes=sums.peak_device_bytes,
    )


def _efficiency(average_home_bytes: int, all_home_bytes: int) -> float:
    return min(1.0, max(0.0, 1.0 - average_home_bytes / all_home_bytes)) if all_home_bytes else 0.0


def _mean(total: int, count: int) -> int:
    return total // count if count else 0


def _median(seconds: deque[float] | None) -> float | None:
    return median(seconds) if seconds else None
