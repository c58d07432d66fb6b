"""What a manager gives back without a placement: at the static marks, after work, and when it is asked to trim."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.testing import capture_logs

from tests.fakes.fake_device import FakeDevice
from tests.fakes.fake_modules import PROCESS_BYTES, FakeModules, fake_residency
from tests.fakes.manual_clock import ManualClock
from tests.fakes.torch_networks import MAKERS, device_residency
from tts_service.errors import Reason, ServiceError
from tts_service.residency.housekeeper import Resources
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.trimming import STILL_MOVING, MemoryKind, TrimReport
from tts_service.residency.types import Authority, Directive, Placement, Tier
from tts_service.residency.upkeep import IDLE_CACHE_BYTES, StaticMarks, Upkeep
from tts_service.types import ModuleName

A, B, C = ModuleName("a"), ModuleName("b"), ModuleName("c")
SIZES = {"a": 10, "b": 20, "c": 30}
WORKSPACE_BYTES = 8 << 10
TOTAL_BYTES = PROCESS_BYTES + 200


class CachingModules(FakeModules):
    """Modules of a process that keeps some freed memory for use until it is told to give it back."""

    def __init__(self, kept_bytes: int = 0) -> None:
        super().__init__(SIZES)
        self.kept_bytes = kept_bytes
        self.given_back = 0

    def resident_bytes(self) -> int:
        """Return what the process holds with what it keeps."""
        return super().resident_bytes() + self.kept_bytes

    def give_back(self) -> None:
        """Keep nothing more, and count."""
        super().give_back()
        self.kept_bytes = 0
        self.given_back += 1

    def free_bytes(self) -> int:
        """Return what the machine has left."""
        return TOTAL_BYTES - self.resident_bytes()


class CountingScratch:
    """Scratch memory that counts how often it was trimmed."""

    def __init__(self) -> None:
        self.trims = 0

    def trim(self) -> None:
        """Count."""
        self.trims += 1


@pytest.fixture
def clock() -> ManualClock:
    """Return the manager's clock."""
    return ManualClock(100.0)


@pytest.fixture
def helper() -> Iterator[ThreadPoolExecutor]:
    """Give a thread that waits, as a caller of the control path does."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def trimmed(manager: ResidencyManager, helper: ThreadPoolExecutor, *, modules: bool) -> TrimReport:
    """Trim as another thread does while this one moves modules."""
    asked = helper.submit(manager.trim, modules=modules, timeout_seconds=20.0)
    while not asked.done():
        manager.make_moves()
        time.sleep(0.001)
    return asked.result()


def figures(report: TrimReport) -> dict[MemoryKind, tuple[int, int, str]]:
    """Return before, after and obstacle by kind."""
    return {each.kind: (each.before_bytes, each.after_bytes, each.obstacle) for each in report.kinds}


def tiers(manager: ResidencyManager) -> str:
    """Return where everything is."""
    return " ".join(status.tier.name for status in manager.report().modules)


def marked(modules: CachingModules, clock: ManualClock, marks: StaticMarks) -> ResidencyManager:
    """Return a loaded manager with static marks."""
    manager = fake_residency(
        modules, clock=clock, upkeep=Upkeep(marks=marks), resources=Resources(free_bytes=modules.free_bytes)
    )
    manager.load()
    return manager


def later(manager: ResidencyManager, clock: ManualClock) -> str:
    """Let a second go by, and all that follows from it."""
    clock.advance(1.0)
    manager.make_moves()
    return tiers(manager)


def test_modules_leave_at_the_low_mark_and_come_back_on_demand(clock: ManualClock) -> None:
    """The coldest idle module leaves, the log says why, and a request brings it back as ever."""
    modules = CachingModules()
    manager = marked(modules, clock, StaticMarks(low_bytes=141))
    with manager.lease({C}, timeout_seconds=0):
        pass
    with capture_logs() as logs:
        after = later(manager, clock)
    authority = manager.report().modules[1].authority
    manager.prepare({B})
    manager.make_moves()

    assert ("HOST DISK HOST", Authority.DEFAULT, "HOST HOST HOST") == (after, authority, tiers(manager))
    assert [["b"]] == [each["modules"] for each in logs if each["event"] == "memory_below_static_mark"]


def test_memory_that_is_only_kept_is_given_back_before_any_module(clock: ManualClock) -> None:
    """When that is enough, everything stays; free memory is read again before anything leaves."""
    modules = CachingModules(kept_bytes=100)
    manager = marked(modules, clock, StaticMarks(low_bytes=100))
    modules.kept_bytes = 100

    assert ("HOST HOST HOST", 0) == (later(manager, clock), modules.kept_bytes)


def test_shortage_that_nothing_can_end_is_not_worked_on_every_second(clock: ManualClock) -> None:
    """With all modules in use, allocators give back once, when memory has become short."""
    modules = CachingModules()
    manager = marked(modules, clock, StaticMarks(low_bytes=10_000))
    before = modules.given_back
    with manager.claim({A, B, C}):
        for _ in range(5):
            later(manager, clock)

    assert ("HOST HOST HOST", 1) == (tiers(manager), modules.given_back - before)


def test_marks_rest_while_a_directive_is_in_force(clock: ManualClock) -> None:
    """A governor decides alone; when its word has ended, the marks count again."""
    manager = marked(CachingModules(), clock, StaticMarks(low_bytes=1_000))
    manager.set_directive(Directive(epoch=1, version=1, valid_for_seconds=10))
    governed = later(manager, clock)
    manager.set_directive(None)

    assert ("HOST HOST HOST", "DISK DISK DISK") == (governed, later(manager, clock))


def test_claimed_module_leaves_below_critical_alone(clock: ManualClock) -> None:
    """An open utterance keeps its modules at low, and loses them at critical."""
    modules = CachingModules()
    manager = marked(modules, clock, StaticMarks(low_bytes=150, critical_bytes=141))
    with manager.claim({A, B, C}):
        critical = later(manager, clock)
        low = later(manager, clock)

    assert ("HOST HOST DISK", "HOST HOST DISK") == (critical, low)


def test_trim_without_modules_gives_back_what_is_kept(clock: ManualClock, helper: ThreadPoolExecutor) -> None:
    """Modules stay; a second trim finds nothing more."""
    modules, scratch = CachingModules(), CountingScratch()
    manager = fake_residency(modules, clock=clock, resources=Resources(scratch=scratch))
    manager.load()
    modules.kept_bytes = 70
    first = figures(trimmed(manager, helper, modules=False))
    again = figures(trimmed(manager, helper, modules=False))
    held_bytes = PROCESS_BYTES + 60

    assert {MemoryKind.PROCESS: (held_bytes + 70, held_bytes, "")} == first
    assert {MemoryKind.PROCESS: (held_bytes, held_bytes, "")} == again
    assert ("HOST HOST HOST", 2) == (tiers(manager), scratch.trims)


def test_trim_with_modules_sends_idle_ones_away_as_an_operator(clock: ManualClock, helper: ThreadPoolExecutor) -> None:
    """What is claimed stays, and the answer says what left and why the rest did not."""
    manager = fake_residency(CachingModules(), clock=clock)
    manager.load()
    with manager.claim({B}):
        report = trimmed(manager, helper, modules=True)
    found = figures(report)

    assert ({A, C}, "DISK HOST DISK") == (set(report.modules), tiers(manager))
    assert (60, 20) == found[MemoryKind.MODULES][:2]
    assert "claimed" in found[MemoryKind.MODULES][2]
    assert Authority.OPERATOR is manager.report().modules[0].authority


def test_trim_under_a_directive_leaves_what_it_wants_at_home(clock: ManualClock, helper: ThreadPoolExecutor) -> None:
    """It is no placement: what the governor placed stays placed, and its version stays done."""
    manager = fake_residency(CachingModules(), clock=clock)
    manager.load()
    home = (Placement(module=A, tier=Tier.HOST),)
    manager.set_directive(Directive(epoch=1, version=4, valid_for_seconds=10, placements=home))
    trimmed(manager, helper, modules=True)
    report = manager.report()

    assert ("HOST DISK DISK", 4) == (tiers(manager), report.applied_version)


def test_trim_that_takes_too_long_says_that_it_goes_on(clock: ManualClock) -> None:
    """Nobody waits for ever: the answer tells what is held by then, and what left is made later."""
    manager = fake_residency(CachingModules(), clock=clock)
    manager.load()
    report = manager.trim(modules=True, timeout_seconds=0.0)
    manager.make_moves()

    assert {STILL_MOVING} == {each.obstacle for each in report.kinds}
    assert "DISK DISK DISK" == tiers(manager)


def test_trim_of_a_manager_that_has_closed_is_refused(clock: ManualClock) -> None:
    """Whoever asks while the service ends hears that, at once."""
    manager = fake_residency(CachingModules(), clock=clock)
    manager.load()
    manager.close()
    with pytest.raises(ServiceError) as refused:
        manager.trim(modules=False, timeout_seconds=20.0)

    assert Reason.DRAINING is refused.value.reason


def test_trim_on_a_device_gives_its_cache_back(clock: ManualClock, helper: ThreadPoolExecutor) -> None:
    """Blocks that nobody uses any more go back to the device, and the answer says what is held of it then."""
    device = FakeDevice()
    manager = device_residency(device, clock=clock)
    manager.load()
    block = device.allocated(5_000)
    del block
    report = trimmed(manager, helper, modules=True)
    found = figures(report)

    assert (5_000, 0, "") == found[MemoryKind.DEVICE_CACHE]
    assert (0, 0, "") == found[MemoryKind.SCRATCH]
    assert report.device is not None
    assert (0, found[MemoryKind.MODULES][1]) == (report.device.reserved_bytes, 0)


def test_clean_up_gives_back_after_evictions_and_utterances(clock: ManualClock) -> None:
    """With it, what is kept goes back once modules have moved, and once utterances have ended; without it stays."""
    counts = []
    for cleans_up in (True, False):
        modules = CachingModules()
        manager = fake_residency(modules, clock=clock, upkeep=Upkeep(cleans_up=cleans_up))
        manager.load()
        manager.claim({A}).release()
        began = modules.given_back
        modules.kept_bytes = 50
        later(manager, clock)
        counts.append((modules.given_back - began, modules.kept_bytes))
        later(manager, clock)
        counts.append((modules.given_back - began, modules.kept_bytes))

    assert [(1, 0), (1, 0), (0, 50), (0, 50)] == counts


def test_clean_up_after_a_move_comes_beside_the_movers_own(clock: ManualClock) -> None:
    """A mover gives back what its move has freed; cleaning up gives back once more, all that is kept."""
    counts = []
    for cleans_up in (True, False):
        modules = CachingModules()
        manager = fake_residency(modules, clock=clock, upkeep=Upkeep(cleans_up=cleans_up))
        manager.load()
        began = modules.given_back
        manager.place(A, Tier.DISK, timeout_seconds=0)
        manager.make_moves()
        counts.append(modules.given_back - began)

    assert 1 == counts[0] - counts[1]


def test_history_that_is_off_keeps_no_samples_and_says_so(clock: ManualClock) -> None:
    """What moved is counted all the same."""
    manager = fake_residency(CachingModules(), clock=clock, upkeep=Upkeep(keeps_history=False))
    manager.load()
    manager.place(A, Tier.DISK, timeout_seconds=0)
    manager.make_moves()
    report = manager.memory_report(100)

    assert (False, (), (), 0, 1) == (
        report.history_kept,
        report.samples,
        report.phases,
        report.peak_process_bytes,
        report.evictions,
    )


def test_started_manager_trims_by_itself() -> None:
    """The thread that moves modules does the chores; whoever asks only waits."""
    modules = CachingModules()
    manager = fake_residency(modules, clock=time.monotonic)
    manager.start()
    try:
        report = manager.trim(modules=True, timeout_seconds=20.0)
    finally:
        manager.close()

    assert ({A, B, C}, "DISK DISK DISK") == (set(report.modules), tiers(manager))


def test_what_a_voice_left_in_the_allocator_goes_back_once_nobody_speaks(clock: ManualClock) -> None:
    """Hundreds of MiB that one upload needed are not kept from neighbours; a stream that plays is left in peace."""
    device = FakeDevice()
    manager = device_residency(device, clock=clock)
    manager.load()
    home_bytes = device.usage().allocated_bytes
    claim = manager.claim([ModuleName(name) for name in MAKERS])
    block = device.allocated(IDLE_CACHE_BYTES + 1)
    del block
    later(manager, clock)
    while_speaking_bytes = device.usage().reserved_bytes

    claim.release()
    later(manager, clock)

    assert home_bytes + IDLE_CACHE_BYTES + 1 == while_speaking_bytes
    assert home_bytes == device.usage().reserved_bytes


def test_what_libraries_compute_in_goes_when_nobody_computes(clock: ManualClock) -> None:
    """Under a lease it is in use, and stays; a trim after that gives it back with the rest."""
    device = FakeDevice()
    manager = device_residency(device, clock=clock)
    manager.start()
    home_bytes = device.usage().allocated_bytes
    try:
        with manager.lease([ModuleName(next(iter(MAKERS)))], timeout_seconds=20.0):
            device.multiply(WORKSPACE_BYTES)
            manager.trim(modules=False, timeout_seconds=20.0)
            while_leased_bytes = device.usage().reserved_bytes
        manager.trim(modules=False, timeout_seconds=20.0)
    finally:
        manager.close()

    assert home_bytes + WORKSPACE_BYTES == while_leased_bytes
    assert home_bytes == device.usage().reserved_bytes


def test_cache_of_usual_speech_is_kept(clock: ManualClock) -> None:
    """The next sentence would have to ask the driver for it again."""
    device = FakeDevice()
    manager = device_residency(device, clock=clock)
    manager.load()
    block = device.allocated(IDLE_CACHE_BYTES // 2)
    del block
    later(manager, clock)

    assert device.usage().allocated_bytes + IDLE_CACHE_BYTES // 2 == device.usage().reserved_bytes


class StubbornDevice(FakeDevice):
    """Cannot return what it keeps, because something in each piece is in use; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def give_back(self) -> None:
        """Return nothing."""
        self.asked += 1


def test_cache_that_cannot_go_is_not_asked_for_every_second(clock: ManualClock) -> None:
    """Asking stops the device; what is left after it once is left until it has grown."""
    device = StubbornDevice()
    manager = device_residency(device, clock=clock)
    manager.load()
    block = device.allocated(IDLE_CACHE_BYTES + 1)
    del block
    asked_before = device.asked
    for _ in range(3):
        later(manager, clock)

    assert 1 == device.asked - asked_before
