"""Modules that hold no weights but keep the books: who is loaded, who is used, what memory is really free.

They enforce what real ones would only crash for: nothing is loaded twice, nothing is released while it is used, and
memory comes back only after it was given back. What went wrong is kept in `violations`.
"""

import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.housekeeper import NO_RESOURCES, Resources
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.types import Tier
from tts_service.residency.upkeep import NO_UPKEEP, Upkeep
from tts_service.types import ModuleName

PROCESS_BYTES = 1_000
"""What the process holds without any module."""


class FakeModule:
    """A loaded module; `number` tells one loading from another."""

    def __init__(self, name: ModuleName, number: int) -> None:
        self.name = name
        self.number = number

    def __repr__(self) -> str:
        return f"<FakeModule {self.name} {self.number}>"


class FakeModules:
    """Scripted sizes, load times and failures for some modules.

    `faults[name]` are raised by the next loads, one each; `capacity_bytes` makes loads beyond it fail for want of
    memory; `gate` holds every load until it is set; `on_load` is called during each.
    """

    def __init__(self, sizes: Mapping[str, int], *, capacity_bytes: int | None = None) -> None:
        self.sizes = {ModuleName(name): size for name, size in sizes.items()}
        self.capacity_bytes = capacity_bytes
        self.faults: dict[str, list[Exception]] = defaultdict(list)
        self.gate = threading.Event()
        self.gate.set()
        self.on_load: Callable[[ModuleName], None] = lambda _: None
        self.loads: Counter[str] = Counter()
        self.violations: list[str] = []
        self._lock = threading.Lock()
        self._loaded: Counter[str] = Counter()
        self._in_use: Counter[str] = Counter()
        self._freed_bytes = 0

    def __repr__(self) -> str:
        return f"<FakeModules {sorted(self._loaded.elements())} loaded | {self.resident_bytes()} bytes>"

    @property
    def names(self) -> tuple[ModuleName, ...]:
        """All modules, in the order of the data path."""
        return tuple(self.sizes)

    def specs(self, *, rest_away: Collection[str] = (), sized: bool = False) -> tuple[ModuleSpec, ...]:
        """Return the catalog; with `sized`, it says how big modules are, so that nothing is measured."""
        return tuple(
            ModuleSpec(
                name=name,
                load=partial(self._load, name),
                forget=partial(self._forget, name),
                rests_at_home=name not in rest_away,
                home_bytes=size if sized else None,
            )
            for name, size in self.sizes.items()
        )

    def loaded(self) -> frozenset[str]:
        """Return the modules that are in memory."""
        with self._lock:
            return frozenset(name for name, count in self._loaded.items() if count)

    def resident_bytes(self) -> int:
        """Return what the process holds; freed bytes count until they are given back."""
        with self._lock:
            return PROCESS_BYTES + self._loaded_bytes() + self._freed_bytes

    def give_back(self) -> None:
        """Return freed bytes to the operating system."""
        with self._lock:
            self._freed_bytes = 0

    @contextmanager
    def using(self, lent: Mapping[ModuleName, object]) -> Iterator[None]:
        """Compute with leased modules."""
        with self._lock:
            self._in_use.update(tuple(lent))
            self.violations += [f"{name} is used but away" for name in lent if not self._loaded[name]]
        names = tuple(lent)
        try:
            yield
        finally:
            with self._lock:
                self._in_use.subtract(names)

    def _loaded_bytes(self) -> int:
        return sum(self.sizes[ModuleName(name)] * count for name, count in self._loaded.items())

    def _load(self, name: ModuleName) -> FakeModule:
        self.on_load(name)
        self.gate.wait()
        if self.faults[name]:
            raise self.faults[name].pop(0)
        with self._lock:
            if self.capacity_bytes is not None and self._loaded_bytes() + self.sizes[name] > self.capacity_bytes:
                raise MemoryError
            if self._loaded[name]:
                self.violations.append(f"{name} is loaded twice")
            self._loaded[name] += 1
            self.loads[name] += 1
            module = FakeModule(name, self.loads[name])
        weakref.finalize(module, self._freed, name)
        return module

    def _freed(self, name: ModuleName) -> None:
        # No lock: the last reference may go while this thread holds it; one thread moves modules.
        self._loaded[name] -= 1
        self._freed_bytes += self.sizes[name]

    def _forget(self, name: ModuleName) -> None:
        with self._lock:
            if self._in_use[name]:
                self.violations.append(f"{name} is released while it is used")
            if self._loaded[name]:
                self.violations.append(f"{name} is evicted but still referenced")


def fake_residency(
    modules: FakeModules,
    *,
    clock: Callable[[], float],
    rest_away: Collection[str] = (),
    budget_bytes: int | None = None,
    pinned: Collection[str] = (),
    stay_seconds: float = 0.0,
    linger_seconds: float = 10.0,
    restore_timeout_seconds: float = 30.0,
    rest_tiers: Mapping[str, Tier] | None = None,
    upkeep: Upkeep = NO_UPKEEP,
    resources: Resources = NO_RESOURCES,
) -> ResidencyManager:
    """Return a manager over fake modules, not started."""
    return ResidencyManager(
        modules.specs(rest_away=rest_away),
        mover=Mover(memory=modules, clock=clock, collect=lambda: 0),
        budget_bytes=budget_bytes,
        pinned_modules=tuple(ModuleName(name) for name in pinned),
        linger_seconds=linger_seconds,
        stay_seconds=stay_seconds,
        restore_timeout_seconds=restore_timeout_seconds,
        rest_tiers={ModuleName(name): tier for name, tier in (rest_tiers or {}).items()},
        upkeep=upkeep,
        resources=resources,
        clock=clock,
        wall_clock=lambda: 1_700_000_000.0 + clock(),
    )
