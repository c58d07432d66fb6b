"""What the service must survive, through the manager: a hog, a client that vanishes, moves and faults at any point."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.arena_residency import arena_residency, arena_weights
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_recorder import FakeRecorder
from tests.fakes.manual_clock import ManualClock
from tests.fakes.served_arenas import SCRATCH, Served
from tests.fakes.tiny_chatterbox import TinyChatterbox, segment_of
from tests.fakes.torch_networks import MAKERS, weights_of
from tts_service.errors import Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.graph_memory import ArenaGraphs
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.scratch_space import scratch_spec
from tts_service.residency.types import Directive, ModuleState, Placement, Tier, Urgency
from tts_service.speech.speech_model import next_stage
from tts_service.types import ModuleName, Waveform

A, B = ModuleName("a"), ModuleName("b")
STEPS = ("create", "map", "set_access", "release", "copy", "copied")
EVERY_STEP = pytest.mark.parametrize("step", STEPS)
PATIENCE_SECONDS = 20.0
TEXT = "A word, and some more of them."


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep events out of the way."""
    with capture_logs():
        yield


class Hog:
    """Another process, because of which a step of every restore of A finds no memory, while it is there."""

    def __init__(self, served: Served, step: str) -> None:
        self.attempts = 0
        self._served, self._step = served, step
        self._restore, self._device = served.weights.restore, served.weights._device

    def come(self) -> None:
        """Take the memory, again before each attempt and whenever torch's cache was given back."""
        self._served.weights.restore = self._attempted  # type: ignore[method-assign]

    def _attempted(self, name: ModuleName, module: object, *, meanwhile: Callable[[], object]) -> int:
        if name != A:
            return self._restore(name, module, meanwhile=meanwhile)
        self._take()
        self._device.give_back = self._take  # type: ignore[method-assign]
        try:
            return self._restore(name, module, meanwhile=meanwhile)
        finally:
            self._device.give_back = lambda: None  # type: ignore[method-assign]
            self._served.driver.heal()

    def _take(self) -> None:
        self.attempts += 1
        self._served.driver.fail_calls(self._step)

    def go(self) -> None:
        """Give it back."""
        self._served.weights.restore = self._restore  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"<Hog at {self._step} | {self.attempts} attempts>"


def _away(served: Served, module: ModuleName) -> None:
    """Send a module away, and let it come back when somebody needs it."""
    served.manager.place(module, Tier.HOST, timeout_seconds=0)
    served.settle()
    served.manager.place(module, None, timeout_seconds=0)


def _tier(served: Served, module: ModuleName) -> tuple[Tier, ModuleState]:
    status = served.status(module)
    return status.tier, status.state


def _books(served: Served) -> bool:
    return served.manager.report().home_bytes == served.driver.physical_bytes == served.driver.mapped_bytes


@EVERY_STEP
def test_restore_outlives_a_hog_that_comes_and_goes(step: str) -> None:
    """It is tried again within the request's time, and others speak: what they claim leaves once at most."""
    served = Served()
    _away(served, A)
    hog, spoken = Hog(served, step), 0
    ready, claim = served.manager.prepare({A}), served.manager.claim({B})
    for _ in range(5):
        hog.come()
        served.settle(seconds=0.6, times=2)
        early = ready.done(), _tier(served, A), _books(served)
        other = served.manager.prepare({B})
        served.settle(seconds=0.6, times=1)
        spoken += other.done() and other.exception() is None
    restores = served.status(B).restores
    claim.release()
    attempts = hog.attempts
    hog.go()
    served.settle(seconds=0.6, times=2)
    served.bring(A)
    with served.manager.lease({A}, timeout_seconds=0) as lent:
        found = weights_of(lent[A])

    assert ((False, (Tier.HOST, ModuleState.RESTING), True), 5) == (early, spoken)
    assert (True, True) == (attempts > 5, restores <= 2)
    assert (None, True) == (ready.result(0), _books(served))
    assert all(map(torch.equal, weights_of(MAKERS["a"]()), found))


@EVERY_STEP
def test_restore_under_a_hog_that_stays_is_refused_for_memory_when_its_time_is_up(step: str) -> None:
    """With a time to retry, and nothing is broken: the next request after the hog has left is served."""
    served = Served()
    _away(served, A)
    hog = Hog(served, step)
    hog.come()
    ready = served.manager.prepare({A})
    served.settle(seconds=0.5, times=70)
    error = ready.exception(0)
    hog.go()
    served.settle()
    served.bring(A)

    assert isinstance(error, ServiceError)
    assert (Reason.DEVICE_MEMORY, True) == (error.reason, error.retry_after_seconds is not None)
    assert ((Tier.DEVICE, ModuleState.RESTING), True) == (_tier(served, A), _books(served))


def test_hog_that_takes_turns_with_two_requests_does_not_make_them_send_each_other_away() -> None:
    """Each gets what fits in its turn; the device is not filled and emptied without a rest."""
    served = Served(rest_away=MAKERS)
    served.driver.capacity_bytes = 24_576
    c, d = ModuleName("c"), ModuleName("d")
    served.bring(c)
    first, second = served.manager.prepare({d}), served.manager.prepare({B, c})
    counted = len(served.driver.calls)
    served.manager.make_moves()
    calls = len(served.driver.calls) - counted
    served.settle(seconds=0.6, times=20)

    assert calls < 200
    assert (None, None, True) == (first.result(0), second.result(0), _books(served))


def test_client_that_vanishes_during_a_restore_leaves_a_module_that_is_home_and_free() -> None:
    """What has begun is finished; nobody holds or waits for it."""
    served = Served()
    _away(served, A)
    ready, copy = served.manager.prepare({A}), served.driver.copy

    def vanish(*arguments: int) -> None:
        ready.cancel()
        copy(*arguments)

    served.driver.copy = vanish  # type: ignore[method-assign]
    served.manager.make_moves()
    status = served.status(A)
    with served.manager.lease({A}, timeout_seconds=0):
        pass
    _away(served, A)

    assert (True, 0, 0, Tier.DEVICE) == (ready.cancelled(), status.leases, status.claims, status.tier)
    assert (Tier.HOST, ModuleState.RESTING) == _tier(served, A)
    assert () == served.manager._guard._register.situation.leases.waiting


def test_lease_that_gives_up_during_a_restore_is_no_lease_when_the_module_comes() -> None:
    """The step's time was up; the module may leave at once."""
    driver, began, go_on = FakeCudaDriver(), threading.Event(), threading.Event()
    manager = arena_residency(arena_weights(driver), clock=time.monotonic)
    manager.start()
    manager.place(A, Tier.HOST, timeout_seconds=PATIENCE_SECONDS)
    manager.place(A, None, timeout_seconds=0)
    copy = driver.copy

    def held(*arguments: int) -> None:
        began.set()
        go_on.wait(PATIENCE_SECONDS)
        copy(*arguments)

    driver.copy = held  # type: ignore[method-assign]
    with pytest.raises(ServiceError), manager.lease({A}, timeout_seconds=0.05):
        pass
    assert began.wait(PATIENCE_SECONDS)
    go_on.set()
    _, reason = manager.place(A, Tier.HOST, timeout_seconds=PATIENCE_SECONDS)
    leases = [each.leases for each in manager.report().modules]
    manager.close()

    assert ("", [0] * len(leases)) == (reason, leases)


@pytest.mark.parametrize("step", [*STEPS[:3], *STEPS[4:]])
def test_driver_error_in_the_middle_of_a_restore_breaks_that_module_alone(step: str) -> None:
    """Whoever waits is told at once, the log says which module and why, and the others are lent."""
    served = Served()
    _away(served, A)
    ready = served.manager.prepare({A})
    served.driver.fail_calls(step, 1, DeviceDriverError)
    with capture_logs() as logs:
        served.manager.make_moves()
    error = ready.exception(0)
    with served.manager.lease({B}, timeout_seconds=0) as lent:
        others = set(lent)
    (told,) = (each for each in logs if each["event"] == "module_broken")

    assert isinstance(error, ServiceError)
    assert (Reason.ENGINE_FAULT, {"module": "a"}) == (error.reason, error.metadata)
    assert ((Tier.HOST, ModuleState.BROKEN), {B}, True) == (_tier(served, A), others, _books(served))
    assert (A, "error", True) == (told["module"], told["log_level"], bool(told["exc_info"]))


@pytest.mark.parametrize("room_bytes", [0, 8_192, 24_576, 40_960])
def test_service_starts_when_device_memory_is_short_and_speaks_when_it_is_not(room_bytes: int) -> None:
    """What finds no room waits on the host."""
    driver, clock = FakeCudaDriver(room_bytes), ManualClock()
    manager = arena_residency(arena_weights(driver), clock=clock)
    manager.load()
    tiers = {each.module: each.tier for each in manager.report().modules}
    short_bytes, driver.capacity_bytes = driver.physical_bytes, None
    ready = manager.prepare(MAKERS)  # type: ignore[arg-type]  # Names are strings.
    for _ in range(10):
        clock.advance(0.6)
        manager.make_moves()

    assert set(tiers.values()) <= {Tier.DEVICE, Tier.HOST}
    assert (True, None) == (short_bytes <= room_bytes, ready.result(0))
    assert driver.physical_bytes == manager.report().home_bytes


def test_start_with_pinned_modules_and_no_memory_says_so() -> None:
    """A pin is a promise that cannot be kept; the service does not start without it."""
    served = FakeCudaDriver(0)
    manager = _pinned(served)

    with pytest.raises(Exception, match="could not be brought to the device"):
        manager.load()


def _pinned(driver: FakeCudaDriver) -> ResidencyManager:
    manager = arena_residency(arena_weights(driver), clock=ManualClock())
    manager.place(A, Tier.DEVICE, timeout_seconds=0)
    return manager


class CapturingRecorder(FakeRecorder):
    """Lets the driver refuse every call while the work runs a second time, as a GPU does under a capture."""

    driver: FakeCudaDriver

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Take memory first, and capture then."""
        self.driver.make_current()
        replay = super().record(work)
        self.driver.is_capturing = True
        try:
            time.sleep(0.001)
            replay()
        finally:
            self.driver.is_capturing = False
        return replay


def test_graphs_are_captured_while_other_modules_move() -> None:
    """Moves and captures take turns: no call falls into a capture, and what was captured is right."""
    driver = FakeCudaDriver()
    weights = arena_weights(driver)
    space = weights.space(SCRATCH)
    recorder = type("Recorder", (CapturingRecorder,), {"driver": driver})
    graphs = ArenaGraphs(space, most_bytes=1 << 22, recorder=recorder)
    manager = arena_residency(weights, clock=time.monotonic, more=[scratch_spec(space)])
    space.account = manager.account(SCRATCH)
    manager.start()
    ends, errors, version = threading.Event(), list[BaseException](), 0
    buffer = graphs.buffer(8, dtype=torch.float32)

    def capture() -> None:
        try:
            for number in range(40):
                with manager.lease({A, SCRATCH}, timeout_seconds=PATIENCE_SECONDS):
                    graphs.capture(f"work {number}", lambda number=number: buffer.fill_(float(number)))  # type: ignore[misc]
                    assert float(number) == float(buffer[0])
        except BaseException as error:  # noqa: BLE001 - asserted below.
            errors.append(error)
        finally:
            ends.set()

    thread = threading.Thread(target=capture)
    thread.start()
    while not ends.is_set():
        version += 1
        tier = Tier.HOST if version % 2 else Tier.DEVICE
        wish = Placement(module=B, tier=tier, urgency=Urgency.WHEN_UNLEASED)
        manager.set_directive(Directive(epoch=1, version=version, valid_for_seconds=60, placements=(wish,)))
        ends.wait(0.001)
    thread.join()
    moves = sum(each.restores + each.evictions for each in manager.report().modules if each.module == B)
    manager.close()

    assert ([], None, {}) == (errors, driver.lost, weights.failures)
    assert (40, True) == (len(graphs.captured), moves > 0)


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> TinyChatterbox:
    """Return the English model."""
    shared: Path = tmp_path_factory.getbasetemp().parent / "tiny-weights"
    return TinyChatterbox(shared, ChatterboxModel.ENGLISH)


@pytest.fixture(scope="module")
def expected(english: TinyChatterbox) -> Waveform:
    """Return what is spoken where nothing moves, before an arena has any of its weights."""
    return english.spoken(english.config(max_segment_tokens=24), TEXT)


@pytest.mark.parametrize("within", [True, False], ids=["within a step", "between steps"])
@pytest.mark.parametrize("urgency", list(Urgency), ids=lambda each: each.value)
def test_eviction_asked_for_at_every_point_of_an_utterance_changes_no_sample(
    tmp_path_factory: pytest.TempPathFactory, expected: Waveform, urgency: Urgency, *, within: bool
) -> None:
    """Every step's module is wanted away, under its lease or just after; it goes and comes, and no stream breaks."""
    chatterbox = TinyChatterbox(tmp_path_factory.getbasetemp().parent / "tiny-weights", ChatterboxModel.ENGLISH)
    driver, clock, version = FakeCudaDriver(), ManualClock(), 0
    makers = {name: lambda name=name: chatterbox.modules[name] for name in chatterbox.speech.modules}  # type: ignore[misc]
    weights = arena_weights(driver, adopt_from_bytes=1 << 12)
    manager = arena_residency(weights, clock=clock, makers=makers, stay_seconds=0.5)
    manager.load()
    segment = chatterbox.speech.utterance(chatterbox.config(max_segment_tokens=24)).segment(segment_of(TEXT), 0)
    heard = list[Waveform]()

    def send_away() -> None:
        nonlocal version
        version += 1
        wishes = tuple(Placement(module=each, tier=Tier.HOST, urgency=urgency) for each in manager.modules)
        manager.set_directive(Directive(epoch=1, version=version, valid_for_seconds=60, placements=wishes))
        clock.advance(1.0)
        manager.make_moves()

    while (stage := next_stage(segment.stages)) is not None:
        ready = manager.prepare(stage.modules)
        manager.make_moves()
        ready.result(0)
        with manager.lease(stage.modules, timeout_seconds=0) as lent:
            if within:
                send_away()
            sound = stage.step(lent)
        heard.append(np.zeros(0, np.float32) if sound is None else np.asarray(sound))
        send_away()
    evictions = sum(each.evictions for each in manager.report().modules)

    assert np.array_equal(expected, np.concatenate(heard))
    assert (None, True) == (driver.lost, evictions >= len(heard))
