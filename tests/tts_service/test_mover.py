"""Moves: what they measure, and which errors they tell apart."""

import errno
from collections.abc import Callable

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.fake_modules import FakeModules
from tests.fakes.manual_clock import ManualClock
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.mover import Evicted, Mover, RestoreFailedError
from tts_service.types import ModuleName

A = ModuleName("a")


class Shelf:
    """Holds the only reference to a module, as the manager does; `keep` makes another, as a leak would."""

    def __init__(self, module: object, *, keep: bool = False) -> None:
        self._held = [module]
        self._kept = [module] if keep else []

    def __repr__(self) -> str:
        return f"<Shelf {len(self._held)} held | {len(self._kept)} kept>"

    def take(self) -> object:
        """Hand over the reference."""
        return self._held.pop()

    def collect(self) -> int:
        """Find the leak, as a collection finds a cycle."""
        self._kept.clear()
        return 1


def _mover(modules: FakeModules, clock: Callable[[], float], collect: Callable[[], int] = lambda: 0) -> Mover:
    return Mover(memory=modules, clock=clock, collect=collect)


def test_measure_finds_what_a_module_holds_and_not_what_installing_left() -> None:
    """Bytes are counted from after the installation to after the load."""
    clock, modules = ManualClock(), FakeModules({"a": 10, "library": 7})
    modules.on_load = lambda _: clock.advance(0.5)
    spec, library = modules.specs()
    kept = []
    installing = ModuleSpec(name=A, load=spec.load, install=lambda: kept.append(library.load()))
    measured = _mover(modules, clock).measure(installing)

    assert (10, 0.5) == (measured.home_bytes, measured.seconds)


def test_measure_believes_a_catalog_that_knows() -> None:
    """A size that is given is not measured."""
    modules = FakeModules({"a": 10})
    spec = ModuleSpec(name=A, load=modules.specs()[0].load, home_bytes=99)

    assert 99 == _mover(modules, ManualClock()).measure(spec).home_bytes


def test_eviction_measures_what_really_came_back() -> None:
    """What was given back is what the process lost, and not what the module was thought to hold."""
    modules = FakeModules({"a": 10})
    mover, spec = _mover(modules, ManualClock()), modules.specs()[0]
    shelf = Shelf(mover.restore(spec, home_bytes=10).module)
    evicted = mover.evict(spec, shelf.take, home_bytes=8)

    assert (Evicted(released_bytes=10, seconds=0.0), frozenset()) == (evicted, modules.loaded())


def test_eviction_collects_only_if_bytes_did_not_come_back() -> None:
    """A full collection stops every thread, so that it is made only when something is missing."""
    collections: list[str] = []
    modules = FakeModules({"a": 10})

    def collect() -> int:
        collections.append("collected")
        return 0

    mover, spec = _mover(modules, ManualClock(), collect), modules.specs()[0]
    mover.evict(spec, Shelf(mover.restore(spec, home_bytes=10).module).take, home_bytes=10)
    before = list(collections)
    mover.evict(spec, Shelf(mover.restore(spec, home_bytes=30).module).take, home_bytes=30)

    assert ([], ["collected"]) == (before, collections)


def test_eviction_of_a_module_in_a_cycle_succeeds_after_a_collection() -> None:
    """A cycle that keeps a module alive is found."""
    modules = FakeModules({"a": 10})
    spec = modules.specs()[0]
    shelf = Shelf(spec.load(), keep=True)
    with capture_logs() as logs:
        evicted = _mover(modules, ManualClock(), shelf.collect).evict(spec, shelf.take, home_bytes=10)

    assert (10, []) == (evicted.released_bytes, logs)


def test_eviction_of_a_module_that_somebody_keeps_is_logged() -> None:
    """Whoever keeps a reference beyond a lease is found in the log, not in a mystery."""
    modules = FakeModules({"a": 10})
    spec = modules.specs()[0]
    shelf = Shelf(spec.load(), keep=True)
    with capture_logs() as logs:
        evicted = _mover(modules, ManualClock()).evict(spec, shelf.take, home_bytes=10)

    assert (0, ["module_still_referenced"]) == (evicted.released_bytes, [each["event"] for each in logs])


def test_eviction_goes_on_if_a_module_cannot_be_forgotten() -> None:
    """A fault in the last step of an eviction is logged; the module has gone."""
    modules = FakeModules({"a": 10})

    def failing() -> None:
        raise ValueError

    spec = ModuleSpec(name=A, load=modules.specs()[0].load, forget=failing)
    shelf = Shelf(spec.load())
    with capture_logs() as logs:
        evicted = _mover(modules, ManualClock()).evict(spec, shelf.take, home_bytes=10)

    assert (10, ["module_not_forgotten"]) == (evicted.released_bytes, [each["event"] for each in logs])


def test_eviction_of_an_object_that_cannot_be_watched_succeeds() -> None:
    """Not every object takes a weak reference."""
    spec = ModuleSpec(name=A, load=lambda: (1, 2))
    shelf = Shelf(spec.load())

    assert 0 == _mover(FakeModules({}), ManualClock()).evict(spec, shelf.take, home_bytes=0).released_bytes


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("std::bad_alloc"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
    ],
    ids=["Python", "system", "torch", "onnxruntime", "torch on a device", "CUDA"],
)
def test_lack_of_memory_is_told_apart_whoever_reports_it(fault: Exception) -> None:
    """Each library has its own words for it."""
    modules = FakeModules({"a": 10})
    modules.faults["a"].append(fault)

    with pytest.raises(MemoryError, match="no memory for a"):
        _mover(modules, ManualClock()).restore(modules.specs()[0], home_bytes=10)


@pytest.mark.parametrize("fault", [ValueError("damaged"), OSError(errno.ENOENT, "damaged"), RuntimeError("damaged")])
def test_any_other_fault_means_that_the_module_is_broken(fault: Exception) -> None:
    """Its cause is kept, and named."""
    modules = FakeModules({"a": 10})
    modules.faults["a"].append(fault)
    with pytest.raises(RestoreFailedError, match=r"a cannot be loaded: .*damaged") as failed:
        _mover(modules, ManualClock()).restore(modules.specs()[0], home_bytes=10)

    assert fault is failed.value.__cause__


def test_mover_knows_the_process() -> None:
    """What the process holds is read when it is asked for."""
    modules = FakeModules({"a": 10})
    mover = _mover(modules, ManualClock())
    restored = mover.restore(modules.specs()[0], home_bytes=10)

    assert (1_010, "a") == (mover.process_bytes(), getattr(restored.module, "name", ""))
