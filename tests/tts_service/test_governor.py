"""Who governs: epochs, holders, takeover and operators, without a clock."""

import pytest

from tests.fakes.governors import NOW, attached, error_of, governing
from tts_service.errors import Reason
from tts_service.residency import governor as rules
from tts_service.residency.governor import FIRST_WORD_SECONDS, Governor, Hello


def test_first_holder_gets_epoch_one() -> None:
    """Whoever comes first is let in under epoch 1."""
    governor = attached()

    assert (1, "first", True) == (governor.epoch, governor.holder_id, governor.attached)


def test_same_holder_reattached_gets_next_epoch() -> None:
    """A holder that comes again, even while it is attached, gets a new epoch."""
    again = rules.hello(attached(), Hello(holder_id="first"), now_seconds=NOW)

    assert (2, "first") == (again.epoch, again.holder_id)


def test_other_holder_while_attached_is_refused_by_name() -> None:
    """Another holder is told who governs and how long its word counts."""
    error = error_of(lambda: rules.hello(governing(), Hello(holder_id="second"), now_seconds=NOW + 4))

    assert (Reason.GOVERNED, {"holder": "first", "expires_in_seconds": "6.000"}, None) == (
        error.reason,
        error.metadata,
        error.retry_after_seconds,
    )


def test_other_holder_while_word_outlives_its_governor_may_retry_when_it_ends() -> None:
    """Once the holder has left, another is told when its directive ends."""
    left = rules.leave(governing(), 1)
    error = error_of(lambda: rules.hello(left, Hello(holder_id="second"), now_seconds=NOW + 4))

    assert (Reason.GOVERNED, 6.0) == (error.reason, error.retry_after_seconds)


def test_other_holder_while_hung_holder_is_attached_is_refused() -> None:
    """A holder that is attached keeps others out even when its word has ended."""
    hung, _ = rules.expire(governing(), now_seconds=NOW + 60)

    assert (
        error_of(lambda: rules.hello(hung, Hello(holder_id="second"), now_seconds=NOW + 60)).reason is Reason.GOVERNED
    )


@pytest.mark.parametrize("seconds", [10.0, 11.0])
def test_other_holder_after_word_ended_is_let_in(seconds: float) -> None:
    """When the holder has left and its time is over, another needs no takeover."""
    left = rules.leave(governing(), 1)
    governor = rules.hello(left, Hello(holder_id="second"), now_seconds=NOW + seconds)

    assert (2, "second") == (governor.epoch, governor.holder_id)


def test_other_holder_after_silent_one_left_is_let_in_at_once() -> None:
    """A holder that never gave a directive leaves nothing behind."""
    governor = rules.hello(rules.leave(attached(), 1), Hello(holder_id="second"), now_seconds=NOW)

    assert governor.holder_id == "second"


def test_takeover_leaves_word_in_force_until_its_time() -> None:
    """A takeover changes the holder, not what is in force."""
    taken = rules.hello(governing(), Hello(holder_id="second", takeover=True), now_seconds=NOW + 1)

    assert (2, "second", NOW + 10, 0) == (
        taken.epoch,
        taken.holder_id,
        taken.expires_at_seconds,
        rules.version_in_force(taken),
    )


def test_superseded_stream_leaving_changes_nothing() -> None:
    """The end of an older epoch's stream does not let the new holder out."""
    taken = rules.hello(governing(), Hello(holder_id="second", takeover=True), now_seconds=NOW)

    assert rules.leave(taken, 1) is taken


def test_silent_holder_governs_for_the_first_word_only() -> None:
    """A holder that was let in and says nothing stops counting."""
    silent = attached()

    assert (True, False) == (
        rules.governs(silent, now_seconds=NOW + FIRST_WORD_SECONDS - 0.1),
        rules.governs(silent, now_seconds=NOW + FIRST_WORD_SECONDS),
    )


def test_operator_while_governed_is_refused_with_the_way_out() -> None:
    """An operator is told whom to ask instead."""
    error = error_of(lambda: rules.refuse_operator(governing(), now_seconds=NOW + 4))

    assert (
        Reason.GOVERNED,
        {"holder": "first", "expires_in_seconds": "6.000", "use": "PolicyService.SetOverride"},
    ) == (error.reason, error.metadata)


def test_operator_while_nobody_governs_is_let_through() -> None:
    """Without a word in force nothing is raised: neither before the first governor nor after the last word."""
    ended, _ = rules.expire(governing(), now_seconds=NOW + 10)
    free = [not rules.governs(governor, now_seconds=NOW + 10) for governor in (Governor(), ended)]
    for governor in (Governor(), ended):
        rules.refuse_operator(governor, now_seconds=NOW + 10)

    assert free == [True, True]
