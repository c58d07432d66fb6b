"""The modules that are in memory, and their moves, step by step between neighbouring tiers.

DISK and HOST are neighbours, and so are HOST and DEVICE: a module comes from disk to the device through host memory,
and if the second step fails, the first has been made.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.mover import Evicted, Mover, Restored
from tts_service.residency.situation import Move, Residence
from tts_service.residency.types import Tier
from tts_service.types import ModuleName


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A module that came nearer: what it holds, or will hold, at home and in host memory besides.

    `seconds` took the whole way, `copy_seconds` the step to the device, None if that was not made.
    """

    home_bytes: int
    host_bytes: int
    seconds: float
    copy_seconds: float | None = None


class ModuleStore:
    """Holds the only references to modules. One thread at a time moves them; leases read `objects`."""

    def __init__(self, mover: Mover) -> None:
        self.objects: dict[ModuleName, object] = {}
        self._mover = mover

    def __repr__(self) -> str:
        return f"<ModuleStore {' '.join(self.objects) or 'is empty'} | {self._mover!r}>"

    def whereabouts(self, module: ModuleName) -> Tier:
        """Return how far a module came that did not reach the device, or not memory."""
        return Tier.HOST if module in self.objects else Tier.DISK

    def load_first(self, spec: ModuleSpec) -> Brought:
        """Bring a module from disk to host memory for the first time, and measure it.

        Raises MemoryError or RestoreFailedError.
        """
        loaded = self._load(spec, self._mover.measure)
        if self._mover.device is None:
            return Brought(home_bytes=loaded.home_bytes, host_bytes=0, seconds=loaded.seconds)
        home_bytes = self._mover.weigh(spec, loaded.module)
        return Brought(home_bytes=home_bytes, host_bytes=loaded.home_bytes, seconds=loaded.seconds)

    def admit(self, spec: ModuleSpec) -> None:
        """Do for a module in host memory what its first way to the device would have to do else."""
        self._mover.admit(spec, self.objects[spec.name])

    def begin(self, move: Move) -> None:
        """Begin a move from host memory to the device that will be made in any case; `bring` ends it."""
        self._mover.begin(move.module, self.objects[move.module])

    def bring(
        self, spec: ModuleSpec, move: Move, residence: Residence, *, meanwhile: Callable[[], object] = lambda: None
    ) -> Brought:
        """Bring a module nearer; `meanwhile` is called while it is copied to a device.

        Raises MemoryError or RestoreFailedError; `whereabouts` then says how far it came.
        """
        seconds = 0.0
        if move.source is Tier.DISK:
            seconds = self._load(spec, lambda _: self._mover.restore(spec, home_bytes=residence.home_bytes)).seconds
        if move.target is not Tier.DEVICE:
            return Brought(home_bytes=residence.home_bytes, host_bytes=residence.host_bytes, seconds=seconds)
        copied = self._mover.to_device(spec, self.objects[spec.name], meanwhile=meanwhile)
        return Brought(
            home_bytes=copied.home_bytes,
            host_bytes=residence.host_bytes,
            seconds=seconds + copied.seconds,
            copy_seconds=copied.seconds,
        )

    def take_away(self, spec: ModuleSpec, move: Move, residence: Residence) -> Evicted:
        """Take a module further away; what it gave back is counted at home, or in host memory if it was not there."""
        left = self._mover.off_device(spec) if move.source is Tier.DEVICE else None
        if move.target is not Tier.DISK:
            assert left is not None
            return left
        host_bytes = residence.home_bytes if self._mover.device is None else residence.host_bytes
        dropped = self._mover.evict(spec, lambda: self.objects.pop(spec.name), home_bytes=host_bytes)
        if left is None:
            return dropped
        return Evicted(released_bytes=left.released_bytes, seconds=left.seconds + dropped.seconds)

    def _load(self, spec: ModuleSpec, load: Callable[[ModuleSpec], Restored]) -> Restored:
        loaded = load(spec)
        self.objects[spec.name] = loaded.module
        return loaded
