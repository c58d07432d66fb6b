"""The stream of tokens from captured T3: token for token the eager one's, and nothing is left behind."""

import gc
import math
from typing import Any

import pytest
import torch

from tests.fakes.captured_t3 import captured_t3, request, running_t3, spoken, stream_of
from tests.fakes.tiny_t3 import STOP
from tts_service.errors import Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.speech_tokens import SpeechTokens, TokenFinish, TokenRequest

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
every_model = pytest.mark.parametrize("model", list(ChatterboxModel))

SETTINGS: dict[str, dict[str, Any]] = {
    "usual": {},
    "unguided": {"cfg_weight": 0.0},
    "top-p": {"top_p": 0.8, "temperature": 1.3},
    "unpenalised": {"repetition_penalty": 1.0},
}


def eager(asked: TokenRequest, t3: Any, seed: int = 1) -> SpeechTokens:
    """Return an eager stream that has ended."""
    stream = SpeechTokens(asked, CounterRandom(seed=seed, segment=0))
    list(stream.tokens(t3))
    return stream


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@every_model
def test_tokens_are_those_of_the_eager_stream(model: ChatterboxModel, settings: dict[str, Any]) -> None:
    """In fp32 on a CPU tokens, their order and the reason to end are equal, for several seeds and bursts."""
    t3 = running_t3(model)
    captured, _ = captured_t3(model, t3)
    for seed in range(3):
        asked = request(model, seed=seed, max_segment_tokens=40, **settings)
        stream, expected = stream_of(asked, captured, seed), eager(asked, t3, seed)
        heard = spoken(stream, t3, burst=3 + seed)

        assert expected.history == stream.history
        assert expected.finish == stream.finish
        assert [token for token in expected.history if token < 6561] == heard


@every_model
def test_streams_that_take_turns_say_what_each_says_alone(model: ChatterboxModel) -> None:
    """Slots with other prompts, settings and lengths are not mixed up."""
    t3 = running_t3(model)
    captured, pages = captured_t3(model, t3)
    settings = [{}, {"temperature": 1.4}, {"cfg_weight": 0.0}, {"top_p": 0.9}]
    asked = [request(model, seed=seed, text=12 + 5 * seed, **each) for seed, each in enumerate(settings)]
    streams = [stream_of(each, captured, seed) for seed, each in enumerate(asked)]
    while any(each.finish is None for each in streams):
        for burst, stream in enumerate(streams, start=2):
            if stream.finish is None:
                stream.advance(t3, burst)

    assert [eager(each, t3, seed).history for seed, each in enumerate(asked)] == [each.history for each in streams]
    assert 60 == pages.free_pages


@pytest.mark.parametrize("length", [62, 63, 64, 65, 66, 96, 97, 128, 129, 130])
def test_prompts_at_every_border_say_the_same(length: int) -> None:
    """Prompts that fill a bucket or a page, fall short of it by one, or go beyond all buckets, change nothing."""
    t3 = running_t3(ENGLISH)
    captured, _ = captured_t3(ENGLISH, t3, prompts=(64, 96, 128))
    asked = request(ENGLISH, text=length - 36, max_segment_tokens=6)
    stream = stream_of(asked, captured)
    spoken(stream, t3)

    assert eager(asked, t3).history == stream.history


def test_speech_over_page_borders_says_the_same() -> None:
    """A row's second and third page are taken and read in time."""
    t3 = running_t3(ENGLISH, bias={STOP: -50.0})
    captured, pages = captured_t3(ENGLISH, t3)
    asked = request(ENGLISH, max_segment_tokens=100)
    stream = stream_of(asked, captured)
    stream.advance(t3, 4)
    first = pages.free_pages
    spoken(stream, t3)

    assert eager(asked, t3).history == stream.history
    assert (58, 60) == (first, pages.free_pages)


def test_weights_may_be_elsewhere_between_bursts() -> None:
    """What the weights' memory holds while nobody advances is never looked at."""
    t3 = running_t3(ENGLISH)
    captured, _ = captured_t3(ENGLISH, t3)
    asked = request(ENGLISH)
    stream, kept = stream_of(asked, captured), [each.detach().clone() for each in t3.parameters()]
    while stream.finish is None:
        stream.advance(t3, 4)
        _fill(t3, [torch.full_like(each, math.nan) for each in kept])
        _fill(t3, kept)

    assert eager(asked, t3).history == stream.history


def _fill(t3: Any, values: list[torch.Tensor]) -> None:
    for weight, value in zip(t3.parameters(), values, strict=True):
        weight.data.copy_(value)


def test_logits_that_are_no_numbers_end_that_stream_alone() -> None:
    """ENGINE_FAULT for the slot whose keys are damaged; its neighbour goes on to the same end as ever."""
    t3 = running_t3(ENGLISH)
    captured, pages = captured_t3(ENGLISH, t3)
    bad, good = stream_of(request(ENGLISH), captured), stream_of(request(ENGLISH, seed=4), captured)
    bad.advance(t3, 2)
    good.advance(t3, 2)
    assert bad._slot is not None
    pages.tensor[bad._slot.pages[0][0]] = math.nan
    with pytest.raises(ServiceError) as caught:
        bad.advance(t3, 8)
    spoken(good, t3)

    assert Reason.ENGINE_FAULT is caught.value.reason
    assert TokenFinish.FAILED is bad.finish
    assert eager(request(ENGLISH, seed=4), t3).history == good.history
    assert 60 == pages.free_pages


@every_model
def test_cancelled_stream_gives_slot_and_pages_back(model: ChatterboxModel) -> None:
    """After the next burst nothing is held, whether or not the stream had begun."""
    t3 = running_t3(model)
    captured, pages = captured_t3(model, t3)
    for begun in (False, True):
        stream = stream_of(request(model), captured)
        if begun:
            stream.advance(t3, 2)
        stream.cancel()

        assert [] == stream.advance(t3)
        assert TokenFinish.CANCELLED is stream.finish
        assert (60, 0) == (pages.free_pages, captured.open_slots)


def test_dropped_stream_gives_slot_and_pages_back() -> None:
    """Nobody has to end what nobody asks for any more."""
    t3 = running_t3(ENGLISH)
    captured, pages = captured_t3(ENGLISH, t3)
    stream = stream_of(request(ENGLISH), captured)
    stream.advance(t3, 2)
    del stream
    gc.collect()

    assert (60, 0) == (pages.free_pages, captured.open_slots)


@pytest.mark.parametrize("before", [0, 5])
def test_stream_without_pages_is_as_it_was_and_may_try_again(before: int) -> None:
    """DEVICE_MEMORY before the first burst, or at a page's end; then the tokens are those of any day."""
    t3 = running_t3(ENGLISH, bias={STOP: -50.0})
    captured, pages = captured_t3(ENGLISH, t3)
    asked = request(ENGLISH, max_segment_tokens=30)
    stream = stream_of(asked, captured)
    if before:
        stream.advance(t3, before)
    taken = pages.take(pages.free_pages)
    with pytest.raises(ServiceError) as caught:
        stream.advance(t3, 8)
    pages.give(taken)
    spoken(stream, t3)

    assert Reason.DEVICE_MEMORY is caught.value.reason
    assert eager(asked, t3).history == stream.history
    assert 60 == pages.free_pages


def test_more_segments_than_slots_are_told_so() -> None:
    """AT_CAPACITY leaves the stream as it was; with a slot free it begins."""
    t3 = running_t3(ENGLISH)
    captured, _ = captured_t3(ENGLISH, t3, slots=1)
    first, second = stream_of(request(ENGLISH), captured), stream_of(request(ENGLISH), captured)
    first.advance(t3, 2)
    with pytest.raises(ServiceError) as caught:
        second.advance(t3, 2)
    spoken(first, t3)
    spoken(second, t3)

    assert Reason.AT_CAPACITY is caught.value.reason
    assert first.history == second.history


def test_batch_of_slots_says_what_each_says_alone() -> None:
    """Three slots in a bucket of four, at different positions, get the tokens that each gets in a bucket of one."""
    t3 = running_t3(ENGLISH)
    captured, _ = captured_t3(ENGLISH, t3)
    asked = [request(ENGLISH, seed=seed, text=12 + 7 * seed) for seed in range(3)]
    streams = [stream_of(each, captured, seed) for seed, each in enumerate(asked)]
    for stream in streams:
        stream.advance(t3, 2)
    slots = [each._slot for each in streams if each._slot is not None]
    captured.queue(t3, slots, 5)

    assert [eager(each, t3, seed).history[2:7] for seed, each in enumerate(asked)] == captured.fetch(slots, 5)
