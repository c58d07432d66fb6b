"""Segments whose keys and values wait on the host: they go on with the same tokens, and leave nothing behind."""

import gc
from typing import Any

import pytest
import torch

from tests.fakes.captured_t3 import captured_t3, left, request, room_for, running_t3, spoken, stream_of
from tests.fakes.tiny_t3 import STOP
from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.t3_captured import CapturedT3
from tts_service.speech.captured.token_stream import CapturedBursts, CapturedTokens
from tts_service.speech.resting import Leave

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
SETTINGS: tuple[dict[str, Any], ...] = ({}, {"cfg_weight": 0.0}, {"top_p": 0.8}, {"repetition_penalty": 1.0})


def spoil(captured: CapturedT3) -> None:
    """Let everything that slots have on the device be as it may be after its memory was away."""
    state = captured._state
    for each in (state.numbers, state.settings, state.said, state.tables, state.burst, state.followed, state.rules):
        each.fill_(1 if each.dtype is torch.bool else 77)


def expected(captured: CapturedT3, t3: Any, asked: Any, seed: int = 1) -> list[int]:
    """Return what a stream says that never leaves."""
    stream = stream_of(asked, captured, seed)
    spoken(stream, t3)
    return stream.history


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("model", list(ChatterboxModel))
def test_stream_that_leaves_before_every_burst_says_the_same(model: ChatterboxModel, settings: dict[str, Any]) -> None:
    """Its numbers were overwritten meanwhile, and its pages are others': token for token equal, to the same end."""
    t3 = running_t3(model)
    captured, pages = captured_t3(model, t3, room=room_for(t3, pages=40))
    for seed in range(2):
        asked = request(model, seed=seed, max_segment_tokens=40, **settings)
        wanted, stream, taken = expected(captured, t3, asked, seed), stream_of(asked, captured, seed), list[int]()
        while stream.finish is None:
            stream.advance(t3, 3 + seed)
            if stream.finish is None:
                assert Leave.LEFT is left(stream)
                assert 60 == pages.free_pages + len(taken)
                spoil(captured)
                pages.give(taken)
                taken = pages.take(len(taken) + 1)
        pages.give(taken)

        assert wanted == stream.history
    assert (60, 0) == (pages.free_pages, captured.open_slots)


def test_pages_are_poisoned_once_they_are_given_back() -> None:
    """What a stream says after its return is read from where it was copied to."""
    t3 = running_t3(ENGLISH, bias={STOP: -50.0})
    captured, pages = captured_t3(ENGLISH, t3, room=room_for(t3, pages=40))
    asked = request(ENGLISH, max_segment_tokens=100)
    wanted, stream = expected(captured, t3, asked), stream_of(asked, captured)
    while stream.finish is None:
        stream.advance(t3, 8)
        if stream.finish is None:
            left(stream)
            pages.tensor.fill_(torch.nan)

    assert wanted == stream.history


def test_neighbours_go_on_while_one_is_away_and_it_joins_them_again() -> None:
    """Three share bursts; each leaves for two of them in its turn."""
    t3 = running_t3(ENGLISH)
    captured, pages = captured_t3(ENGLISH, t3, room=room_for(t3, pages=40))
    asked = [request(ENGLISH, seed=seed, max_segment_tokens=40) for seed in range(3)]
    wanted = [expected(captured, t3, each, seed) for seed, each in enumerate(asked)]
    streams = [stream_of(each, captured, seed) for seed, each in enumerate(asked)]
    bursts, turn = CapturedBursts(captured), 0
    for each in streams:
        each.advance(t3, 1)
    while any(each.finish is None for each in streams):
        turn += 1
        going = [each for each in streams if each.finish is None]
        resting = going[turn // 2 % len(going)] if len(going) > 1 else None
        if resting is not None and resting.has_pages:
            left(resting)
        burst_all(bursts, t3, [each for each in going if each is not resting], 3)

    assert wanted == [each.history for each in streams]
    assert (60, 0) == (pages.free_pages, captured.open_slots)


def burst_all(bursts: CapturedBursts, t3: Any, streams: list[CapturedTokens], count: int) -> None:
    """Have a burst of these."""
    for stream, made in zip(streams, bursts.burst(t3, streams, count), strict=True):
        assert not isinstance(made, GreenroomError)
        stream.take(made, t3)


def test_stream_that_finds_no_pages_stays_away_and_may_try_again() -> None:
    """DEVICE_MEMORY is told of it alone; with pages free it goes on to the same end."""
    t3 = running_t3(ENGLISH)
    room = room_for(t3, pages=40)
    captured, pages = captured_t3(ENGLISH, t3, room=room)
    asked = request(ENGLISH)
    wanted, stream = expected(captured, t3, asked), stream_of(asked, captured)
    stream.advance(t3, 2)
    left(stream)
    taken = pages.take(pages.free_pages)
    with pytest.raises(ServiceError) as caught:
        stream.advance(t3, 8)
    (lacking,) = CapturedBursts(captured).burst(t3, [stream], 4)
    assert isinstance(lacking, ServiceError)
    is_away, used_bytes = stream.is_away, room.usage().used_bytes
    pages.give(taken)
    spoken(stream, t3)

    assert [Reason.DEVICE_MEMORY] * 2 == [caught.value.reason, lacking.reason]
    assert (True, 2 * room.page_bytes) == (is_away, used_bytes)
    assert wanted == stream.history


def test_beyond_the_bound_a_stream_stays_and_the_next_may_leave_once_another_is_back() -> None:
    """Room for one of two; who was refused is counted, and has lost nothing."""
    t3 = running_t3(ENGLISH)
    room = room_for(t3, pages=3)
    captured, pages = captured_t3(ENGLISH, t3, room=room)
    asked = [request(ENGLISH, seed=seed) for seed in range(2)]
    wanted = [expected(captured, t3, each) for each in asked]
    first, second = (stream_of(each, captured) for each in asked)
    for each in (first, second):
        each.advance(t3, 2)
    outcomes = [left(first), left(second)]
    spoken(first, t3)
    outcomes.append(left(second))
    spoken(second, t3)

    assert [Leave.LEFT, Leave.NO_ROOM, Leave.LEFT] == outcomes
    assert wanted == [first.history, second.history]
    assert (2, 1, 0) == (room.usage().departures, room.usage().refusals, room.usage().segments)
    assert 60 == pages.free_pages


@pytest.mark.parametrize("how", ["closed", "cancelled", "dropped"])
def test_stream_that_ends_while_it_is_away_frees_host_memory(how: str) -> None:
    """However it ends, slot and room are others' at once, and a trim gives the system everything."""
    t3 = running_t3(ENGLISH)
    room = room_for(t3, pages=40)
    captured, pages = captured_t3(ENGLISH, t3, room=room)
    stream = stream_of(request(ENGLISH), captured)
    stream.advance(t3, 2)
    left(stream)
    match how:
        case "closed":
            stream.close()
        case "cancelled":
            stream.cancel()
            stream.advance(t3)
        case _:
            del stream
            gc.collect()
    usage = room.usage()
    room.trim()

    assert (0, 0) == (usage.segments, usage.used_bytes)
    assert (60, 0, 0) == (pages.free_pages, captured.open_slots, room.usage().held_bytes)


def test_stream_that_has_not_begun_or_has_ended_does_not_leave() -> None:
    """There is nothing to send; nor is there without a room."""
    t3 = running_t3(ENGLISH)
    captured, _ = captured_t3(ENGLISH, t3, room=room_for(t3, pages=40))
    lodging, _ = captured_t3(ENGLISH, t3)
    stream, homely = stream_of(request(ENGLISH), captured), stream_of(request(ENGLISH), lodging)
    outcomes = [stream.leave()]
    spoken(stream, t3)
    homely.advance(t3, 2)
    outcomes += [stream.leave(), homely.leave()]

    assert [Leave.NO_ROOM] * 3 == outcomes


def test_time_away_and_pages_are_counted() -> None:
    """Two segments for ten seconds, one for five more: twenty-five seconds in all."""
    t3 = running_t3(ENGLISH)
    room = room_for(t3, pages=40)
    captured, _ = captured_t3(ENGLISH, t3, room=room)
    streams = [stream_of(request(ENGLISH, seed=seed), captured) for seed in range(2)]
    for each in streams:
        each.advance(t3, 2)
        left(each)
    room._clock.advance(10.0)  # type: ignore[attr-defined]  # The test's own clock.
    streams[0].advance(t3, 1)
    room._clock.advance(5.0)  # type: ignore[attr-defined]  # The same.
    usage = room.usage()

    assert (1, 2, 25.0) == (usage.segments, usage.departures, usage.away_seconds)
    assert (2 * room.page_bytes, 4 * room.page_bytes) == (usage.used_bytes, usage.held_bytes)
