"""The listener's player: what it plays when, and what it misses."""

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.player import Gap, Player

PIECES = st.lists(st.tuples(st.floats(0.001, 2.0), st.floats(0.0, 3.0)), min_size=1, max_size=30)
"""Audio seconds, each with the time that passed since the piece before."""


def test_audio_that_comes_in_time_leaves_no_gap() -> None:
    """A piece that arrives at the very moment at which it is needed is in time."""
    player = Player()
    gaps = [player.receive(0.5, 10.0), player.receive(0.5, 10.5), player.receive(1.0, 10.7)]

    assert [None, None, None] == gaps
    assert 12.0 == player.ends_at


def test_audio_that_comes_late_leaves_a_gap_that_moves_the_rest() -> None:
    """A gap says when playback ran dry, how long it stood still, and where; playback ends later by as much."""
    player = Player()
    player.receive(0.5, 10.0)
    gap = player.receive(0.5, 10.75)

    assert Gap(dry_at=10.5, seconds=0.25, offset_seconds=0.5) == gap
    assert 11.25 == player.ends_at
    assert 0.75 == player.position_seconds(11.0)


def test_player_that_waits_first_bears_what_one_that_does_not_would_miss() -> None:
    """A delay at the start is a buffer of that size."""
    player = Player(delay_seconds=0.25)
    player.receive(0.5, 10.0)

    assert player.receive(0.5, 10.75) is None
    assert 0.0 == player.position_seconds(10.2)


@settings(deadline=None, max_examples=200)
@given(pieces=PIECES)
def test_playback_and_gaps_add_up_to_the_time_that_passed(pieces: list[tuple[float, float]]) -> None:
    """Whatever comes when: the end of playback is its start, what was played, and the gaps; it never goes back."""
    player, now, gap_seconds, positions = Player(), 0.0, 0.0, []
    for seconds, passed_seconds in pieces:
        now += passed_seconds
        positions.append(round(player.position_seconds(now), 9))
        gap = player.receive(seconds, now)
        gap_seconds += 0.0 if gap is None else gap.seconds
    began = pieces[0][1]
    total_seconds = sum(seconds for seconds, _ in pieces)

    assert abs(player.ends_at - (began + total_seconds + gap_seconds)) < 1e-6
    assert positions == sorted(positions)
    assert player.position_seconds(player.ends_at + 1.0) == player.received_seconds
