"""Which chunks go on towards sound next."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.scheduled_work import COSTS, SoundLane, chunk
from tts_service.scheduling.costs import expected
from tts_service.scheduling.sound_batches import BatchLimits, SoundBatch, next_sound
from tts_service.scheduling.urgency import Patience, Turns
from tts_service.scheduling.work import ChunkState, ChunkWork, Priority, Rest, Work

LIMITS = BatchLimits()
WAITING, SOLVING, SOLVED = ChunkState.WAITING, ChunkState.SOLVING, ChunkState.SOLVED


def decided(*chunks: ChunkWork, limits: BatchLimits = LIMITS, now: float = 0.0) -> SoundBatch | Rest:
    """Return the decision over these."""
    return next_sound(chunks, COSTS, limits, Turns(), now)[0]


def batch(work: Work, *keys: int) -> SoundBatch:
    """Return a batch."""
    return SoundBatch(work=work, keys=keys)


def test_lane_with_nothing_to_do_rests() -> None:
    """It is asked again when something comes."""
    assert Rest(until=math.inf) == decided()


def test_chunk_far_ahead_waits_until_it_is_due_soon() -> None:
    """A listener with plenty to hear does not need it yet."""
    rest = decided(chunk(1, 10.0))

    assert isinstance(rest, Rest)
    assert 8.0 <= rest.until < 8.001
    assert batch(Work.ENCODE, 1) == decided(chunk(1, 10.0), now=rest.until)


def test_chunk_far_ahead_goes_along_with_an_urgent_one() -> None:
    """Two cost little more than one."""
    assert batch(Work.ENCODE, 2, 1) == decided(chunk(1, 10.0), chunk(2, 1.0))


def test_chunks_begin_before_the_step_that_they_join() -> None:
    """Between two steps of those under way, as long as these stay in time."""
    first = [chunk(key, 1.0, state=SOLVING, steps_left=5) for key in (1, 2)]

    assert batch(Work.ENCODE, 3) == decided(*first, chunk(3, 1.5))


def test_chunks_that_would_make_one_late_wait_for_it() -> None:
    """Who is in time and has none to lose goes on as it is."""
    due_at = 10 * expected(COSTS, Work.SOLVE, 1) + expected(COSTS, Work.SOUND) + 0.001
    urgent = chunk(1, due_at, state=SOLVING)

    assert batch(Work.SOLVE, 1) == decided(urgent, chunk(2, 1.0))


def test_first_sound_passes_between_two_steps_of_others() -> None:
    """Those that have time stand still while it is late by what was promised."""
    under_way = [chunk(key, 1.5, state=SOLVING, steps_left=5) for key in range(8)]
    late = chunk(9, -0.1, opens=True)
    begun = chunk(9, -0.1, opens=True, state=SOLVING)

    assert batch(Work.ENCODE, 9) == decided(late, *under_way)
    assert batch(Work.SOLVE, 9, 0, 1, 2) == decided(begun, *under_way)


def test_chunk_past_help_does_not_hold_up_the_others() -> None:
    """A gap that is there takes nobody else's time: as many as can be go on."""
    under_way = [chunk(key, -1.0, state=SOLVING, steps_left=5) for key in range(8)]

    assert batch(Work.SOLVE, *range(8)) == decided(*under_way)


def test_most_urgent_solved_chunk_sounds_first() -> None:
    """And alone, where waveforms are made singly."""
    solved = [chunk(1, 0.5, state=SOLVED), chunk(2, 0.4, state=SOLVED)]

    assert batch(Work.SOUND, 2) == decided(*solved, chunk(3, 0.6, state=SOLVING), limits=BatchLimits(sounding=1))
    assert batch(Work.SOUND, 2, 1) == decided(*solved)


def test_bulk_goes_on_where_nothing_else_is_due() -> None:
    """Interactive work that is far ahead leaves it the device, urgent work passes it."""
    bulk = chunk(1, state=SOLVING)

    assert batch(Work.SOLVE, 1) == decided(bulk, chunk(2, 10.0))
    assert batch(Work.ENCODE, 2) == decided(bulk, chunk(2, 0.5))


PIECES = st.builds(
    chunk,
    st.just(0),
    st.floats(min_value=-1.0, max_value=6.0) | st.just(math.inf),
    since=st.floats(min_value=-10.0, max_value=0.0),
    steps_left=st.integers(min_value=1, max_value=10),
    state=st.sampled_from(ChunkState),
    opens=st.booleans(),
)


@given(
    pieces=st.lists(PIECES, min_size=1, max_size=40),
    passed_over=st.integers(min_value=0, max_value=3),
    sounding=st.integers(min_value=1, max_value=8),
)
@settings(deadline=None, max_examples=200)
def test_batch_keeps_to_what_it_was_shown(pieces: list[ChunkWork], passed_over: int, sounding: int) -> None:
    """Only chunks that are there, once each, that need just this, of one priority, within all bounds."""
    shown = {key: _numbered(each, key) for key, each in enumerate(pieces)}
    limits = BatchLimits(sounding=sounding)
    decision, _ = next_sound(list(shown.values()), COSTS, limits, Turns(passed_over=passed_over), 0.0)
    if isinstance(decision, Rest):
        assert all(each.state is WAITING and each.due_at > limits.patience.hold_seconds for each in shown.values())
        return
    chosen = [shown[key] for key in decision.keys]
    needs = {Work.ENCODE: WAITING, Work.SOLVE: SOLVING, Work.SOUND: SOLVED}[decision.work]
    most = {Work.ENCODE: limits.under_way, Work.SOLVE: limits.together, Work.SOUND: sounding}[decision.work]

    assert 1 <= len(chosen) == len(set(decision.keys)) <= most
    assert {needs} == {each.state for each in chosen}
    assert 1 == len({each.priority for each in chosen})


def _numbered(each: ChunkWork, key: int) -> ChunkWork:
    return chunk(
        key,
        each.due_at,
        since=each.waiting_since,
        steps_left=each.steps_left or 1,
        state=each.state,
        opens=each.opens,
    )


@given(due=st.lists(st.floats(min_value=0.0, max_value=3.0), min_size=1, max_size=20), bulk=st.integers(0, 4))
@settings(deadline=None, max_examples=50)
def test_lane_that_is_left_alone_finishes_everything(due: list[float], bulk: int) -> None:
    """No order of urgency makes two pieces wait for each other."""
    lane = SoundLane()
    lane.add(chunk(key, due_at) for key, due_at in enumerate(due))
    lane.add(chunk(100 + key) for key in range(bulk))
    for _ in range(40 * (len(due) + bulk) + 10):
        lane.step()

    assert set(lane.done) == {*range(len(due)), *(100 + key for key in range(bulk))}


@given(
    each_decision=st.lists(st.integers(min_value=0, max_value=3), min_size=1, max_size=20),
    bulk=st.integers(min_value=1, max_value=3),
    bulk_every=st.integers(min_value=2, max_value=5),
)
@settings(deadline=None, max_examples=40)
def test_bulk_is_done_in_bounded_time_whatever_else_comes(each_decision: list[int], bulk: int, bulk_every: int) -> None:
    """However much urgent work comes before every decision, aged bulk leads every so many of them until it is done."""
    patience = Patience(hold_seconds=2.0, bulk_wait_seconds=1.0, bulk_every=bulk_every)
    lane = SoundLane(BatchLimits(patience=patience))
    lane.add(chunk(key, since=-2.0) for key in range(bulk))
    # Each is begun, takes ten steps and sounds; others of its kind may begin between its steps.
    bound = bulk_every * 2 * 12 * bulk
    for number in range(bound):
        lane.add(chunk(100 + 10 * number + n, lane.now) for n in range(each_decision[number % len(each_decision)]))
        lane.step()

    assert set(range(bulk)) <= set(lane.done)


@given(count=st.integers(min_value=1, max_value=12))
@settings(deadline=None, max_examples=12)
def test_interactive_leads_while_no_bulk_has_aged(count: int) -> None:
    """Bulk that has not waited for long is passed over by all that is due."""
    lane = SoundLane()
    lane.add([chunk(0, since=0.0), *(chunk(1 + key, 0.2) for key in range(count))])
    while len(lane.done) < count:
        lane.step()

    assert set(range(1, count + 1)) == set(lane.done)
    assert lane.now < BatchLimits().patience.bulk_wait_seconds
    assert lane.chunks[0].priority is Priority.BULK
