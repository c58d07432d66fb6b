"""The shell around the governor's rules: what reaches the manager, who is told, and the thread that ends words."""

import threading
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.fakes.control_path import eventually
from tests.fakes.fake_residency_manager import FakeResidencyManager
from tests.fakes.governors import directive
from tests.fakes.manual_clock import ManualClock
from tts_service.errors import CallerError, Reason
from tts_service.residency.governance import Governance
from tts_service.residency.governor import Hello
from tts_service.residency.types import Directive, Placement, Tier
from tts_service.types import VOICE, ModuleName

FIRST = Hello(holder_id="first")


def nothing() -> None:
    """Ignore being superseded."""


@pytest.fixture
def clock() -> ManualClock:
    """Give a clock that stands."""
    return ManualClock()


@pytest.fixture
def manager() -> FakeResidencyManager:
    """Give a manager without weights."""
    return FakeResidencyManager()


@pytest.fixture
def governance(manager: FakeResidencyManager, clock: ManualClock) -> Governance:
    """Give a governance whose timer is not started: tests tick."""
    return Governance(residency=manager, clock=clock)


@pytest.fixture
def running(manager: FakeResidencyManager) -> Iterator[Governance]:
    """Give a governance on the real clock, with its thread."""
    governance = Governance(residency=manager, clock=time.monotonic)
    governance.start()
    yield governance
    governance.close()


def test_directive_reaches_the_manager_once(governance: Governance, manager: FakeResidencyManager) -> None:
    """A renewal is no news for the manager."""
    governance.attach(FIRST, on_superseded=nothing)
    for _ in range(3):
        governance.direct(directive(), stream_epoch=1)

    assert [directive()] == manager.calls


def test_directive_that_the_manager_refuses_is_not_in_force(
    governance: Governance, manager: FakeResidencyManager
) -> None:
    """What the manager does not take leaves the earlier word in force, and its version free."""
    governance.attach(FIRST, on_superseded=nothing)
    governance.direct(directive(version=1), stream_epoch=1)
    stranger = Placement(module=ModuleName("nobody"), tier=Tier.DISK)
    bad = Directive(epoch=1, version=2, valid_for_seconds=10.0, placements=(stranger,))
    with pytest.raises(CallerError) as refused:
        governance.direct(bad, stream_epoch=1)
    kept = governance.report().accepted_version
    governance.direct(directive(version=2), stream_epoch=1)

    assert (Reason.MODULE_NOT_FOUND, 1, 2, [directive(version=1), directive(version=2)]) == (
        refused.value.reason,
        kept,
        governance.report().accepted_version,
        manager.calls,
    )


def test_word_that_is_not_renewed_ends_at_the_manager(
    governance: Governance, manager: FakeResidencyManager, clock: ManualClock
) -> None:
    """When the time is over the manager goes to its default, and the report names nobody."""
    governance.attach(FIRST, on_superseded=nothing)
    governance.direct(directive(), stream_epoch=1)
    clock.advance(9.9)
    governance.tick()
    before = governance.report()
    clock.advance(0.1)
    governance.tick()
    after = governance.report()

    assert ([directive(), None], (1, "first", 1), (0, "", 0)) == (
        manager.calls,
        (before.epoch, before.holder_id, before.accepted_version),
        (after.epoch, after.holder_id, after.accepted_version),
    )


def test_end_of_a_word_is_logged(governance: Governance, clock: ManualClock) -> None:
    """The log says whose word ended."""
    governance.attach(FIRST, on_superseded=nothing)
    governance.direct(directive(version=3), stream_epoch=1)
    clock.advance(10.0)
    with capture_logs() as logs:
        governance.tick()

    assert [
        {"event": "directive_expired", "log_level": "warning", "epoch": 1, "version": 3, "holder_id": "first"}
    ] == logs


def test_manager_that_cannot_go_to_its_default_is_asked_again(
    governance: Governance, manager: FakeResidencyManager, clock: ManualClock
) -> None:
    """A word is over only when the manager knows."""
    governance.attach(FIRST, on_superseded=nothing)
    governance.direct(directive(), stream_epoch=1)
    clock.advance(10.0)
    manager.directive_fault = RuntimeError("busy")
    with pytest.raises(RuntimeError):
        governance.tick()
    manager.directive_fault = None
    governance.tick()

    assert [directive(), None] == manager.calls


def test_superseded_governor_is_told_once(governance: Governance) -> None:
    """The stream before is told, those before it are not told again."""
    told: list[str] = []
    governance.attach(FIRST, on_superseded=lambda: told.append("first"))
    governance.attach(FIRST, on_superseded=lambda: told.append("second"))
    governance.attach(FIRST, on_superseded=nothing)

    assert ["first", "second"] == told


def test_governor_that_left_is_not_told(governance: Governance) -> None:
    """Whoever left is not superseded."""
    told: list[str] = []
    epoch = governance.attach(FIRST, on_superseded=lambda: told.append("first"))
    governance.detach(epoch)
    governance.attach(FIRST, on_superseded=nothing)

    assert [] == told


def test_versions_of_another_epoch_are_not_shown(governance: Governance, manager: FakeResidencyManager) -> None:
    """A governor must not take an earlier reign's version for its own."""
    governance.attach(FIRST, on_superseded=nothing)
    governance.direct(directive(version=9), stream_epoch=1)
    governance.attach(FIRST, on_superseded=nothing)
    report = governance.report()

    assert (9, 0, 0) == (manager.report().applied_version, report.accepted_version, report.applied_version)


def test_pending_directive_is_accepted_but_not_applied(governance: Governance, manager: FakeResidencyManager) -> None:
    """A version is applied when nothing of it is left to do."""
    governance.attach(FIRST, on_superseded=nothing)
    with manager.lease(VOICE):
        governance.direct(directive(version=2), stream_epoch=1)
        during = governance.report()
    after = governance.report()

    assert ((2, 0), (2, 2)) == (
        (during.accepted_version, during.applied_version),
        (after.accepted_version, after.applied_version),
    )


def test_listeners_hear_of_every_change_of_reign(governance: Governance, clock: ManualClock) -> None:
    """Attaching, directing, leaving and expiring are changes; renewing is none."""
    heard: list[str] = []
    step = ""
    unsubscribe = governance.subscribe(lambda: heard.append(step))
    step = "attach"
    epoch = governance.attach(FIRST, on_superseded=nothing)
    step = "direct"
    governance.direct(directive(), stream_epoch=1)
    step = "renew"
    governance.direct(directive(), stream_epoch=1)
    step = "leave"
    governance.detach(epoch)
    step = "expire"
    clock.advance(10.0)
    governance.tick()
    step = "gone"
    unsubscribe()
    governance.attach(FIRST, on_superseded=nothing)

    assert ["attach", "direct", "leave", "expire"] == heard


def test_operator_is_refused_while_governed_and_served_afterwards(
    governance: Governance, manager: FakeResidencyManager, clock: ManualClock
) -> None:
    """A governor's word keeps operators out, exactly as long as it counts."""
    governance.attach(FIRST, on_superseded=nothing)
    governance.direct(Directive(epoch=1, version=1, valid_for_seconds=10.0), stream_epoch=1)
    with pytest.raises(CallerError) as refused:
        governance.place(VOICE, Tier.DISK, timeout_seconds=0.0)
    clock.advance(10.0)
    governance.tick()
    status, pending = governance.place(VOICE, Tier.DISK, timeout_seconds=0.0)

    assert (Reason.GOVERNED, Tier.DISK, "", [None]) == (refused.value.reason, status.tier, pending, manager.calls[1:])


def test_first_directive_ends_what_operators_placed_and_says_so(
    governance: Governance, manager: FakeResidencyManager
) -> None:
    """Attaching alone ends nothing; the governor's first word does, and the log names the modules."""
    governance.place(VOICE, Tier.DISK, timeout_seconds=0.0)
    governance.attach(FIRST, on_superseded=nothing)
    before = manager.report().modules[0].tier
    with capture_logs() as logs:
        for version in (1, 2):
            governance.direct(Directive(epoch=1, version=version, valid_for_seconds=10.0), stream_epoch=1)
    told = [each["modules"] for each in logs if each["event"] == "placements_ended"]

    assert (Tier.DISK, [[VOICE]], Tier.HOST) == (before, told, manager.report().modules[0].tier)


def test_timer_ends_a_word_by_itself(running: Governance, manager: FakeResidencyManager) -> None:
    """Nobody needs to call for a word to end."""
    running.attach(FIRST, on_superseded=nothing)
    running.direct(directive(valid_for_seconds=1.0), stream_epoch=1)
    eventually(lambda: manager.calls == [directive(valid_for_seconds=1.0), None])

    assert 0 == running.report().epoch


def test_timer_outlives_a_manager_that_fails(manager: FakeResidencyManager) -> None:
    """A fault at the end of a word is logged and tried again; the thread goes on."""
    clock = ManualClock()
    governance = Governance(residency=manager, clock=clock)
    governance.attach(FIRST, on_superseded=nothing)
    governance.direct(directive(), stream_epoch=1)
    clock.advance(10.0)
    manager.directive_fault = RuntimeError("busy")
    with capture_logs() as logs:
        governance.start()
        eventually(lambda: bool(logs))
    manager.directive_fault = None
    eventually(lambda: manager.calls == [directive(), None])
    governance.close()

    assert "directive_expiry_failed" == logs[0]["event"]


def test_close_ends_the_thread_and_the_subscription(manager: FakeResidencyManager) -> None:
    """Nothing is left of a governance that was closed."""
    governance = Governance(residency=manager, clock=time.monotonic)
    governance.start()
    subscribed = manager.subscribers
    governance.close()
    left = [thread.name for thread in threading.enumerate() if thread.name == "governance"]

    assert (1, 0, []) == (subscribed, manager.subscribers, left)


def test_takeovers_at_once_get_epochs_of_their_own(governance: Governance) -> None:
    """Of many that come at once each gets another epoch, and all but the last are told."""
    told: list[int] = []
    epochs: list[int] = []

    def come(number: int) -> None:
        greeting = Hello(holder_id=f"holder-{number}", takeover=True)
        epochs.append(governance.attach(greeting, on_superseded=lambda: told.append(number)))

    threads = [threading.Thread(target=come, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = governance.report().holder_id

    assert (list(range(1, 17)), 15, True) == (
        sorted(epochs),
        len(set(told)),
        all(f"holder-{number}" != last for number in told),
    )


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (0, "<Governance nobody yet away version=0>"),
        (1, "<Governance 'first' epoch=1 attached version=0>"),
        (2, "<Governance 'first' epoch=1 attached version=1>"),
        (3, "<Governance 'first' epoch=1 away version=1>"),
    ],
)
def test_governance_shows_its_state_in_one_line(governance: Governance, steps: int, words: str) -> None:
    """A log or a debugger shows who governs."""
    actions = [
        lambda: governance.attach(FIRST, on_superseded=nothing),
        lambda: governance.direct(directive(), stream_epoch=1),
        lambda: governance.detach(1),
    ]
    for action in actions[:steps]:
        action()

    assert words == repr(governance)
