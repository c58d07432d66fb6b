"""What a governor's word is worth: versions, bounds, renewal and expiry, without a clock."""

from dataclasses import replace

import pytest

from tests.fakes.governors import DETECTOR_TO_DISK, NOW, VOICE_TO_DISK, attached, directive, error_of, governing
from tts_service.errors import FieldViolation, Reason
from tts_service.residency import governor as rules
from tts_service.residency.governor import FIRST_WORD_SECONDS, Effect, Governor, Hello
from tts_service.residency.types import Directive


def test_first_directive_is_news() -> None:
    """A first directive goes to the manager and is in force for its time."""
    governor, effect = rules.direct(attached(), directive(), stream_epoch=1, now_seconds=NOW)

    assert (Effect.APPLY, NOW + 10, 1) == (effect, governor.expires_at_seconds, rules.version_in_force(governor))


def test_same_version_again_renews() -> None:
    """The same version prolongs the time and is no news."""
    governor, effect = rules.direct(governing(), directive(), stream_epoch=1, now_seconds=NOW + 9)

    assert (Effect.RENEW, NOW + 19) == (effect, governor.expires_at_seconds)


def test_same_version_after_expiry_is_news_again() -> None:
    """What ran out must reach the manager again."""
    ended, _ = rules.expire(governing(), now_seconds=NOW + 10)
    _, effect = rules.direct(ended, directive(), stream_epoch=1, now_seconds=NOW + 11)

    assert effect is Effect.APPLY


@pytest.mark.parametrize(
    "same",
    [
        replace(directive(), valid_for_seconds=600.0),
        replace(directive(), reason="still low"),
        directive(valid_for_seconds=1.0),
    ],
)
def test_same_version_with_other_time_or_reason_renews(same: Directive) -> None:
    """How long and why may differ in a renewal."""
    _, effect = rules.direct(governing(), same, stream_epoch=1, now_seconds=NOW)

    assert effect is Effect.RENEW


def test_same_version_in_other_order_renews() -> None:
    """The order in which modules are listed means nothing."""
    wish = replace(directive(), placements=(VOICE_TO_DISK, DETECTOR_TO_DISK))
    turned = replace(wish, placements=(DETECTOR_TO_DISK, VOICE_TO_DISK))
    _, effect = rules.direct(governing(wish), turned, stream_epoch=1, now_seconds=NOW)

    assert effect is Effect.RENEW


@pytest.mark.parametrize(
    "other",
    [replace(directive(), placements=()), replace(directive(), budget_bytes=1)],
)
def test_same_version_with_other_wish_is_refused(other: Directive) -> None:
    """A version names one wish for good."""
    error = error_of(lambda: rules.direct(governing(), other, stream_epoch=1, now_seconds=NOW))

    assert (Reason.BAD_CONFIG, "version") == (error.reason, error.violations[0].field)


def test_older_version_is_superseded() -> None:
    """A directive that was overtaken on its way is refused, with the version in force."""
    governor = governing(directive(version=5))
    error = error_of(lambda: rules.direct(governor, directive(version=4), stream_epoch=1, now_seconds=NOW))

    assert (Reason.SUPERSEDED, {"version": "5"}) == (error.reason, error.metadata)


@pytest.mark.parametrize(("epoch", "stream_epoch"), [(1, 1), (2, 1), (1, 2), (3, 2), (3, 3)])
def test_directive_of_another_epoch_is_superseded(epoch: int, stream_epoch: int) -> None:
    """Both the directive and the stream that carries it must be of the newest epoch."""
    governor = rules.hello(attached(), Hello(holder_id="second", takeover=True), now_seconds=NOW)
    error = error_of(lambda: rules.direct(governor, directive(epoch=epoch), stream_epoch=stream_epoch, now_seconds=NOW))

    assert (Reason.SUPERSEDED, {"epoch": "2"}) == (error.reason, error.metadata)


def test_versions_of_a_new_epoch_start_anew() -> None:
    """After a reattachment a low version is as good as any."""
    governor = rules.hello(governing(directive(version=9)), Hello(holder_id="first"), now_seconds=NOW)
    governor, effect = rules.direct(governor, directive(epoch=2, version=1), stream_epoch=2, now_seconds=NOW)

    assert (Effect.APPLY, 1) == (effect, rules.version_in_force(governor))


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (directive(valid_for_seconds=0.999), "valid_for"),
        (directive(valid_for_seconds=600.001), "valid_for"),
        (directive(valid_for_seconds=-5.0), "valid_for"),
        (directive(valid_for_seconds=float("nan")), "valid_for"),
        (directive(version=0), "version"),
        (directive(version=-3), "version"),
        (replace(directive(), budget_bytes=-1), "budget_bytes"),
        (replace(directive(), placements=(VOICE_TO_DISK, DETECTOR_TO_DISK, VOICE_TO_DISK)), "placements[2].module"),
    ],
)
def test_directive_out_of_bounds_is_refused_with_its_field(bad: Directive, field: str) -> None:
    """Each field out of its bounds is named."""
    error = error_of(lambda: rules.direct(attached(), bad, stream_epoch=1, now_seconds=NOW))

    assert (Reason.BAD_CONFIG, [field]) == (error.reason, [violation.field for violation in error.violations])


def test_directive_with_several_faults_names_them_all() -> None:
    """Every fault is told at once."""
    bad = Directive(epoch=1, version=0, valid_for_seconds=0.0, budget_bytes=-1)
    error = error_of(lambda: rules.direct(attached(), bad, stream_epoch=1, now_seconds=NOW))

    assert {"version", "valid_for", "budget_bytes"} == {violation.field for violation in error.violations}


@pytest.mark.parametrize("seconds", [1.0, 600.0])
def test_valid_for_at_its_bounds_is_accepted(seconds: float) -> None:
    """The bounds belong to what is allowed."""
    governor = governing(directive(valid_for_seconds=seconds))

    assert governor.expires_at_seconds == NOW + seconds


@pytest.mark.parametrize(("seconds", "version"), [(9.999, 1), (10.0, 0), (99.0, 0)])
def test_word_ends_exactly_at_its_time(seconds: float, version: int) -> None:
    """A directive is in force until its time and not a moment longer."""
    governor, ended = rules.expire(governing(), now_seconds=NOW + seconds)

    assert (version, version == 0) == (rules.version_in_force(governor), ended is not None)


def test_word_ends_only_once() -> None:
    """What has ended does not end again."""
    governor, _ = rules.expire(governing(), now_seconds=NOW + 10)

    assert rules.expire(governor, now_seconds=NOW + 20) == (governor, None)


def test_word_of_an_earlier_epoch_ends_too() -> None:
    """A reattached holder that says nothing does not prolong its old word."""
    governor = rules.hello(governing(), Hello(holder_id="first"), now_seconds=NOW + 9)
    governor, ended = rules.expire(governor, now_seconds=NOW + 10)

    assert (directive(), True) == (ended, rules.governs(governor, now_seconds=NOW + 10))


def test_leaving_holder_governs_on_until_its_word_ends() -> None:
    """When the stream breaks, the directive stays, and with it the holder."""
    left = rules.leave(governing(), 1)

    assert (True, False) == (
        rules.governs(left, now_seconds=NOW + 9.9),
        rules.governs(left, now_seconds=NOW + 10),
    )


@pytest.mark.parametrize(
    ("governor", "end_seconds"),
    [
        (Governor(), None),
        (attached(), NOW + FIRST_WORD_SECONDS),
        (governing(), NOW + 10),
        (rules.hello(governing(), Hello(holder_id="first"), now_seconds=NOW + 5), NOW + 10),
        (rules.leave(attached(), 1), None),
    ],
)
def test_next_end_is_the_earliest(governor: Governor, end_seconds: float | None) -> None:
    """Whoever waits is told when something runs out next."""
    assert rules.next_end_seconds(governor) == end_seconds


def test_violation_of_repeated_module_says_which() -> None:
    """A repeated module is named."""
    bad = replace(directive(), placements=(VOICE_TO_DISK, VOICE_TO_DISK))
    error = error_of(lambda: rules.direct(attached(), bad, stream_epoch=1, now_seconds=NOW))

    assert error.violations == (FieldViolation(field="placements[1].module", description="voice is listed twice"),)
