"""Which segments have tokens made next, and how many."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.scheduled_work import COSTS, segment
from tts_service.scheduling.costs import expected
from tts_service.scheduling.token_bursts import Burst, BurstLimits, next_burst
from tts_service.scheduling.urgency import Patience, Turns
from tts_service.scheduling.work import Rest, TokenWork, Work

LIMITS = BurstLimits()


def decided(*segments: TokenWork, limits: BurstLimits = LIMITS, now: float = 0.0) -> Burst | Rest:
    """Return the decision over these."""
    return next_burst(segments, COSTS, limits, Turns(), now)[0]


def test_segment_far_ahead_leads_nothing_but_goes_along() -> None:
    """Alone it waits until it is due soon; beside an urgent one it costs next to nothing."""
    alone = decided(segment(1, 5.0))

    assert isinstance(alone, Rest)
    assert 4.5 <= alone.until < 4.501
    assert Burst(keys=(2, 1), rows=2, tokens=6) == decided(segment(1, 5.0), segment(2, 0.4))


def test_segments_of_other_rows_wait_for_a_burst_of_their_own() -> None:
    """A pass has one number of rows a segment."""
    burst = decided(segment(1, 0.2, rows=2), segment(2, 0.3, rows=1), segment(3, 0.4, rows=2))

    assert isinstance(burst, Burst)
    assert ((1, 3), 2) == (burst.keys, burst.rows)


def test_prompt_of_the_most_urgent_is_read_alone() -> None:
    """Before any token of it."""
    assert Burst(keys=(2,), rows=2, tokens=0) == decided(segment(1, 0.4), segment(2, 0.1, begun=False))


def test_prompts_are_read_ahead_while_nobody_is_late_by_it() -> None:
    """So that those far ahead can go along; where time is short, they cannot."""
    new = segment(2, 3.0, begun=False)
    short = 24 * expected(COSTS, Work.TOKEN, 4) + 0.001

    assert Burst(keys=(2,), rows=2, tokens=0) == decided(segment(1, 0.4), new)
    assert Burst(keys=(1,), rows=2, tokens=7) == decided(segment(1, short), new)


def test_prompts_that_are_needed_soon_do_not_wait_for_who_is_late_anyhow() -> None:
    """A crowd that is late in turns would keep them out for ever, and be late in small bursts; who can wait does."""
    late = segment(1, -0.5)

    assert Burst(keys=(2,), rows=2, tokens=0) == decided(late, segment(2, 0.15, begun=False, opens=True))
    assert Burst(keys=(1,), rows=2, tokens=7) == decided(late, segment(2, 3.0, begun=False))
    assert Burst(keys=(1,), rows=2, tokens=7) == decided(late, segment(2, begun=False))


def test_first_chunk_that_is_late_keeps_to_few() -> None:
    """Others that are late have had their gap, and take all along."""
    others = [segment(key, 4.0) for key in range(1, 21)]

    assert 16 == _size(decided(segment(0, -1.0, opens=True), *others))
    assert 21 == _size(decided(segment(0, -1.0), *others))


def _size(burst: Burst | Rest) -> int:
    assert isinstance(burst, Burst)
    return len(burst.keys)


def test_burst_ends_with_the_leaders_chunk() -> None:
    """Its tokens are handed over at once."""
    burst = decided(segment(1, 0.1, left=3), segment(2, 0.3, left=50))

    assert Burst(keys=(1, 2), rows=2, tokens=3) == burst


PIECES = st.builds(
    segment,
    st.just(0),
    st.floats(min_value=-1.0, max_value=6.0) | st.just(math.inf),
    since=st.floats(min_value=-10.0, max_value=0.0),
    rows=st.integers(min_value=1, max_value=2),
    left=st.integers(min_value=1, max_value=75),
    room=st.integers(min_value=75, max_value=150),
    begun=st.booleans(),
    opens=st.booleans(),
)


@given(pieces=st.lists(PIECES, min_size=1, max_size=60), passed_over=st.integers(min_value=0, max_value=3))
@settings(deadline=None, max_examples=200)
def test_burst_keeps_to_what_it_was_shown(pieces: list[TokenWork], passed_over: int) -> None:
    """Only segments that are there, of equal rows, no more tokens than each has room for, no longer than is borne."""
    shown = {key: _numbered(each, key) for key, each in enumerate(pieces)}
    decision, _ = next_burst(list(shown.values()), COSTS, LIMITS, Turns(passed_over=passed_over), 0.0)
    if isinstance(decision, Rest):
        assert all(each.due_at > LIMITS.patience.hold_seconds for each in shown.values())
        return
    chosen = [shown[key] for key in decision.keys]
    step_seconds = expected(COSTS, Work.TOKEN, len(chosen) * decision.rows)

    assert 1 <= len(chosen) == len(set(decision.keys)) <= LIMITS.segments
    assert {decision.rows} == {each.rows for each in chosen}
    if decision.tokens:
        assert all(each.begun for each in chosen)
        assert decision.tokens <= min(LIMITS.tokens, chosen[0].left, *(each.room for each in chosen))
        assert decision.tokens == 1 or decision.tokens * step_seconds <= LIMITS.most_seconds
    else:
        assert [False] == [each.begun for each in chosen]


def _numbered(each: TokenWork, key: int) -> TokenWork:
    return segment(
        key,
        each.due_at,
        since=each.waiting_since,
        rows=each.rows,
        left=each.left,
        room=each.room,
        begun=each.begun,
        opens=each.opens,
    )


@given(pieces=st.lists(PIECES, min_size=2, max_size=40), place=st.integers(min_value=0, max_value=39))
@settings(deadline=None, max_examples=100)
def test_cancelled_segment_leaves_at_once(pieces: list[TokenWork], place: int) -> None:
    """What is not shown any more is in no decision, whatever the lane remembers."""
    shown = [_numbered(each, key) for key, each in enumerate(pieces)]
    _, turns = next_burst(shown, COSTS, LIMITS, Turns(), 0.0)
    gone = shown.pop(place % len(shown))
    decision, _ = next_burst(shown, COSTS, LIMITS, turns, 0.0)

    assert isinstance(decision, Rest) or gone.key not in decision.keys


@given(
    others=st.integers(min_value=0, max_value=60), rows=st.integers(min_value=1, max_value=2), every=st.integers(2, 6)
)
@settings(deadline=None, max_examples=50)
def test_aged_bulk_leads_every_so_many_bursts(others: int, rows: int, every: int) -> None:
    """Also where urgent segments fill every burst, and where its rows are not theirs."""
    patience = Patience(hold_seconds=0.5, bulk_wait_seconds=3.0, bulk_every=every)
    limits = BurstLimits(patience=patience)
    shown = [segment(0, since=-3.0, rows=rows), *(segment(1 + key, 0.0) for key in range(others))]
    turns, led = Turns(), 0
    for _ in range(5 * every):
        burst, turns = next_burst(shown, COSTS, limits, turns, 0.0)
        assert isinstance(burst, Burst)
        led += burst.keys[0] == 0

    assert led >= 5
    assert others == 0 or led == 5
