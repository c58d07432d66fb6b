"""Bursts of several streams in the same passes: each has its own tokens, its own end, and its own trouble."""

import math
from typing import Any

import pytest

from tests.fakes.captured_t3 import captured_t3, request, running_t3, spoken, stream_of
from tests.fakes.tiny_t3 import STOP
from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.token_stream import CapturedBursts, CapturedTokens
from tts_service.speech.speech_tokens import TokenFinish

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel


def burst_all(bursts: CapturedBursts, t3: Any, streams: list[CapturedTokens], count: int) -> None:
    """Have a burst of those that go on."""
    going = [each for each in streams if each.finish is None]
    for stream, made in zip(going, bursts.burst(t3, going, count), strict=True):
        assert not isinstance(made, GreenroomError)
        stream.take(made, t3)


@pytest.mark.parametrize("model", list(ChatterboxModel))
def test_streams_that_join_and_leave_say_what_each_says_alone(model: ChatterboxModel) -> None:
    """Bursts of several lengths, one stream more every time, each until its own end."""
    t3 = running_t3(model)
    captured, pages = captured_t3(model, t3)
    asked = [request(model, seed=seed, text=12 + 5 * seed) for seed in range(4)]
    expected = [stream_of(each, captured, seed) for seed, each in enumerate(asked)]
    for each in expected:
        spoken(each, t3)
    bursts, streams = CapturedBursts(captured), list[CapturedTokens]()
    for seed, wanted in enumerate(asked):
        streams.append(stream_of(wanted, captured, seed))
        streams[seed].advance(t3, 1)
        burst_all(bursts, t3, streams, 2 + seed)
    while any(each.finish is None for each in streams):
        burst_all(bursts, t3, streams, 8)

    assert [each.history for each in expected] == [each.history for each in streams]
    assert [each.finish for each in expected] == [each.finish for each in streams]
    assert (60, 4) == (pages.free_pages, bursts.free)


def test_stream_without_pages_is_left_out_and_may_go_on_later() -> None:
    """DEVICE_MEMORY is told of the one that lacks a page in mid-speech; its neighbour has its burst."""
    t3 = running_t3(ENGLISH, bias={STOP: -50.0})
    captured, pages = captured_t3(ENGLISH, t3)
    asked = [request(ENGLISH, text=text, max_segment_tokens=20) for text in (25, 4)]
    alone, streams = ([stream_of(each, captured) for each in asked] for _ in range(2))
    for each in alone:
        spoken(each, t3)
    for each in streams:
        each.advance(t3, 1)
    bursts, taken = CapturedBursts(captured), pages.take(pages.free_pages)
    lacking, made = bursts.burst(t3, streams, 8)
    assert not isinstance(made, GreenroomError)
    streams[1].take(made, t3)
    pages.give(taken)
    while any(each.finish is None for each in streams):
        burst_all(bursts, t3, streams, 8)

    assert isinstance(lacking, ServiceError)
    assert Reason.DEVICE_MEMORY is lacking.reason
    assert [each.history for each in alone] == [each.history for each in streams]
    assert (60, 4) == (pages.free_pages, bursts.free)


def test_logits_that_are_no_numbers_end_their_stream_alone() -> None:
    """ENGINE_FAULT when the one whose keys are damaged takes its part; the other says what it says on any day."""
    t3 = running_t3(ENGLISH)
    captured, pages = captured_t3(ENGLISH, t3)
    alone = stream_of(request(ENGLISH, seed=4), captured)
    spoken(alone, t3)
    bad, good = stream_of(request(ENGLISH), captured), stream_of(request(ENGLISH, seed=4), captured)
    for each in (bad, good):
        each.advance(t3, 1)
    assert bad._slot is not None
    pages.tensor[bad._slot.pages[0][0]] = math.nan
    bursts = CapturedBursts(captured)
    damaged, made = bursts.burst(t3, [bad, good], 4)
    assert not isinstance(made, GreenroomError)
    assert not isinstance(damaged, GreenroomError)
    good.take(made, t3)
    with pytest.raises(ServiceError) as caught:
        bad.take(damaged, t3)
    spoken(good, t3)

    assert Reason.ENGINE_FAULT is caught.value.reason
    assert TokenFinish.FAILED is bad.finish
    assert alone.history == good.history
    assert (60, 4) == (pages.free_pages, bursts.free)


def test_closed_stream_gives_slot_and_pages_back_at_once() -> None:
    """Nobody has to wait for the garbage collector; closing again is nothing."""
    t3 = running_t3(ENGLISH)
    captured, pages = captured_t3(ENGLISH, t3)
    stream = stream_of(request(ENGLISH), captured)
    stream.advance(t3, 1)
    stream.close()
    stream.close()

    assert TokenFinish.CANCELLED is stream.finish
    assert (60, 0) == (pages.free_pages, captured.open_slots)


def test_more_slots_than_share_a_pass_may_be_open() -> None:
    """Segments that rest keep their slots while others have bursts, two at a time."""
    t3 = running_t3(ENGLISH)
    captured, _ = captured_t3(ENGLISH, t3, slots=6, most=2)
    alone, streams = ([stream_of(request(ENGLISH, seed=seed), captured) for seed in range(6)] for _ in range(2))
    for each in alone:
        spoken(each, t3)
    bursts = CapturedBursts(captured)
    for each in streams:
        each.advance(t3, 1)
    while any(each.finish is None for each in streams):
        for start in (4, 2, 0):
            burst_all(bursts, t3, streams[start : start + 2], 3)

    assert 2 == bursts.most
    assert [each.history for each in alone] == [each.history for each in streams]
