"""Why a module is where it is, case by case, from what the daemon publishes."""

from dataclasses import replace
from typing import Any

import pytest

from memory_daemon.board import DeviceStatus, Status
from memory_daemon.explanations import Cause, age_text, explain_directive, explain_module
from memory_daemon.kept_policy import KeptPolicy
from memory_daemon.link_view import LinkState
from memory_daemon.marks import HOST_POLICY, Marks
from memory_daemon.past import Past
from memory_daemon.types import (
    HOST,
    Authority,
    Decided,
    Freeze,
    MemorySample,
    ModuleName,
    ModuleState,
    Override,
    OverrideKind,
    PendingMove,
    Placement,
    Pressure,
    Refusal,
    SampleFailed,
    Tier,
    Urgency,
    Wish,
)
from tests.fakes.memory_views import SPEECH, module
from tests.fakes.policy_desk import GB, VIEW

NOW = 1000.0
VOICE = ModuleName("voice")
AWAY = module("voice", GB, tier=Tier.DISK, authority=Authority.DIRECTIVE)
HOME = module("voice", GB)
SENT = Placement(module=VOICE, tier=Tier.DISK)
DECIDED = Decided(unix_seconds=NOW - 12, service=SPEECH, version=7, reason="memory is low", evict=(VOICE,))
PAST = Past(moved={(SPEECH, VOICE): DECIDED}, directed={SPEECH: DECIDED})
SAMPLE = MemorySample(device=HOST, seconds=1.0, unix_seconds=NOW, total_bytes=100 * GB, free_bytes=12 * GB)
MARKS = Marks(critical_bytes=5 * GB, low_bytes=10 * GB, high_bytes=15 * GB)
DEVICE = DeviceStatus(sample=SAMPLE, pressure=Pressure.STEADY, marks=MARKS)
STATUS = Status(holder_id="box", kept=KeptPolicy(policy=HOST_POLICY), devices=(DEVICE,))
EVICT = Override(service=SPEECH, module=VOICE, kind=OverrideKind.EVICT, expire_unix_seconds=NOW + 300, set_by="ann")


def told(status: Status = STATUS, past: Past = PAST, found: Any = AWAY, view: Any = VIEW) -> str:
    """Return all that is told of a module, in one text."""
    return " ".join(explain_module(status, past, view, found, NOW).sentences)


def wishing(*placements: Placement, **values: Any) -> Status:
    """Return a status in which this is wanted of the service."""
    return replace(STATUS, wishes={SPEECH: Wish(placements=placements)}, **values)


def rehearsing() -> Status:
    """Return the status of a daemon in dry run."""
    return replace(wishing(SENT), kept=KeptPolicy(policy=replace(HOST_POLICY, dry_run=True)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            told(wishing(SENT)),
            "voice is away, in DISK (its home is HOST), by a daemon's directive. The policy wants it in DISK. "
            "The newest decision about it was 12 s ago (directive 7): memory is low. It comes home when a request "
            "needs it, or in the background if it is used and 14.9 GiB are free (11.2 GiB now).",
            id="sent away by the policy",
        ),
        pytest.param(
            told(past=Past(), found=HOME),
            "voice is at home in HOST, by its service's own judgement. No directive names it: its service decides for "
            "itself, and a request may always bring it home. No decision has moved it since the daemon began. It may "
            "leave below 9.3 GiB free for 1 s, or below 4.7 GiB at once; 11.2 GiB now.",
            id="at home, left alone",
        ),
    ],
)
def test_explanation_is_whole(text: str, expected: str) -> None:
    """Where it is, who wants what, the newest decision, and what would change it, in this order."""
    assert expected == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            told(wishing(SENT, overrides=(EVICT,))),
            "An operator's override of ann (evict, for 5 min more) wants it in DISK.",
            id="override",
        ),
        pytest.param(
            told(wishing(replace(SENT, urgency=Urgency.WHEN_UNLEASED))), "even while utterances claim it", id="urgent"
        ),
        pytest.param(told(rehearsing()), "The daemon only rehearses (dry run): it sends nothing.", id="dry run"),
        pytest.param(
            told(wishing(SENT, freeze=Freeze(start_unix_seconds=1.0, set_by="ann"))),
            "An operator's freeze of ann keeps the daemon from moving anything until it is cleared.",
            id="freeze",
        ),
        pytest.param(
            told(view=replace(VIEW, state=LinkState.REFUSED, reason="another daemon governs")),
            "The daemon does not govern speech: another daemon governs.",
            id="not governed",
        ),
        pytest.param(
            told(wishing(SENT), found=replace(HOME, authority=Authority.DEMAND)),
            "A request needed it after that",
            id="brought back by a request",
        ),
        pytest.param(told(found=replace(HOME, leases=2)), "It is in use now (2 leases), so it stays", id="leased"),
        pytest.param(told(found=replace(HOME, claims=3)), "3 open utterances claim it", id="claimed"),
        pytest.param(told(found=replace(HOME, pinned=True)), "Its service's configuration pins it", id="pinned"),
        pytest.param(told(found=replace(AWAY, state=ModuleState.RESTORING)), "voice is coming home", id="coming"),
        pytest.param(told(found=replace(AWAY, state=ModuleState.BROKEN)), "voice is broken in DISK", id="broken"),
        pytest.param(
            told(
                replace(
                    STATUS,
                    devices=(
                        DeviceStatus(
                            sample=SampleFailed(device=HOST, seconds=1.0, unix_seconds=1.0, reason="gone"),
                            pressure=Pressure.UNKNOWN,
                            marks=None,
                        ),
                    ),
                )
            ),
            "Memory cannot be read: nothing is decided.",
            id="blind",
        ),
    ],
)
def test_explanation_tells_what_matters(text: str, expected: str) -> None:
    """Each circumstance that bears on the module is said."""
    assert expected in text


def test_move_that_waits_is_told_with_its_reason() -> None:
    """A module that is wanted elsewhere says what keeps it."""
    assert VIEW.report is not None
    pending = (PendingMove(module=VOICE, tier=Tier.DISK, reason="leased"),)
    view = replace(VIEW, report=replace(VIEW.report, pending_moves=pending))

    assert "It has not moved yet: leased." in told(wishing(SENT), found=HOME, view=view)


@pytest.mark.parametrize(
    ("status", "cause", "wanted"),
    [
        pytest.param(STATUS, Cause.NOBODY, None, id="nobody"),
        pytest.param(wishing(SENT), Cause.POLICY, Tier.DISK, id="policy"),
        pytest.param(wishing(SENT, overrides=(EVICT,)), Cause.OVERRIDE, Tier.DISK, id="operator"),
    ],
)
def test_cause_is_told_for_scripts(status: Status, cause: Cause, wanted: Tier | None) -> None:
    """Who wants it where is a value of its own."""
    explained = explain_module(status, PAST, VIEW, AWAY, NOW)

    assert (cause, wanted, DECIDED) == (explained.cause, explained.wanted, explained.decided)


@pytest.mark.parametrize(
    ("applied", "refusal", "expected"),
    [
        pytest.param(3, None, "It is done.", id="done"),
        pytest.param(2, None, "It is accepted and not done yet.", id="under way"),
        pytest.param(
            0, Refusal(version=3, reason="unknown module"), "The service refused it: unknown module.", id="no"
        ),
    ],
)
def test_directive_is_explained_with_its_fate(applied: int, refusal: Refusal | None, expected: str) -> None:
    """The last directive tells why it was sent, what is in it, and what became of it."""
    assert VIEW.report is not None
    report = replace(VIEW.report, accepted_version=3, applied_version=applied)
    view = replace(VIEW, report=report, refusal=refusal)
    sentences = explain_directive(wishing(SENT), PAST, view, NOW).sentences

    assert (
        "Directive 7 was sent 12 s ago: memory is low.",
        "It wants voice in DISK; all others are left to the service.",
        expected,
    ) == sentences


def test_directive_of_a_rehearsal_was_not_sent() -> None:
    """In a dry run the words do not pretend that a service was asked."""
    past = replace(PAST, directed={SPEECH: replace(DECIDED, dry_run=True)})

    assert "would have been sent" in explain_directive(wishing(SENT), past, VIEW, NOW).sentences[0]


@pytest.mark.parametrize(("seconds", "expected"), [(-1, "0 s"), (12.4, "12 s"), (180, "3 min"), (5400, "1.5 h")])
def test_age_is_told_shortly(seconds: float, expected: str) -> None:
    """An age has one unit; a clock that was set back makes none negative."""
    assert expected == age_text(seconds)
