"""The stream of one segment's tokens: what comes out, how it ends, and that nothing is shared or left behind."""

import copy
import gc
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.fakes.tiny_t3 import STOP, tiny_t3, tiny_text, tiny_voice
from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_tokens import SpeechTokens, TokenFinish, TokenRequest
from tts_service.speech.token_prompt import TokenVoice

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
every_model = pytest.mark.parametrize("model", ChatterboxModel)


def request(model: ChatterboxModel, *, voice: int = 3, text: int = 5, **settings: Any) -> TokenRequest:
    """Return a request of 25 tokens at most, with guards for loops."""
    sampling = replace(default_sampling(model), **{"max_segment_tokens": 25, **settings})
    return TokenRequest(
        model=model, text=tiny_text(model, seed=text), voice=tiny_voice(model, voice), sampling=sampling
    )


def stream_of(asked: TokenRequest, seed: int = 1, segment: int = 0) -> SpeechTokens:
    """Return a stream with the product's random numbers."""
    return SpeechTokens(asked, CounterRandom(seed=seed, segment=segment))


def spoken(t3: Any, asked: TokenRequest, seed: int = 1) -> list[int]:
    """Return all tokens that come out."""
    return list(stream_of(asked, seed).tokens(t3))


@every_model
def test_tokens_depend_on_seed_and_segment_alone(model: ChatterboxModel) -> None:
    """The same seed and segment give the same tokens, whatever torch's generator does; others give others."""
    t3, asked = tiny_t3(model), request(model)
    torch.manual_seed(1)
    first = spoken(t3, asked)
    torch.manual_seed(2)
    state = torch.get_rng_state()

    assert first == spoken(t3, asked)
    assert torch.equal(state, torch.get_rng_state())
    assert first != spoken(t3, asked, seed=2)
    assert first != list(stream_of(asked, segment=1).tokens(t3))


def test_streams_that_take_turns_say_what_each_says_alone() -> None:
    """Two utterances on one network, step by step in turn, with other voices, texts and settings, are not mixed up."""
    for model in ChatterboxModel:
        t3 = tiny_t3(model)
        lively = {} if model is TURBO else {"exaggeration": 1.5, "cfg_weight": 0.0}
        asked = [request(model), request(model, voice=8, text=9, temperature=1.2, **lively)]
        alone = [spoken(t3, each, seed) for seed, each in enumerate(asked)]
        streams = [stream_of(each, seed) for seed, each in enumerate(asked)]
        heard: list[list[int]] = [[], []]
        while any(each.finish is None for each in streams):
            for place, stream in enumerate(streams):
                token = stream.step(t3) if stream.finish is None else None
                heard[place] += [] if token is None else [token]

        assert alone == heard
        assert alone[0] != alone[1]


@every_model
def test_network_that_moves_between_steps_changes_nothing(model: ChatterboxModel) -> None:
    """A stream holds nothing of the module: each step may be given it elsewhere, and the old place may be wiped."""
    t3, asked = tiny_t3(model), request(model)
    expected = spoken(t3, asked)
    stream, moved, heard = stream_of(asked), t3, []
    while stream.finish is None:
        left, moved = moved, copy.deepcopy(moved)
        for weight in left.parameters():
            weight.fill_(math.nan)
        token = stream.step(moved)
        heard += [] if token is None else [token]

    assert expected == heard


@every_model
def test_hundred_utterances_leave_nothing_on_the_network(model: ChatterboxModel) -> None:
    """No hooks, no modules, no changed configuration and no tensors stay behind."""
    t3, asked = tiny_t3(model), request(model, max_segment_tokens=3)
    spoken(t3, asked)
    before = _traces(t3)
    for seed in range(100):
        spoken(t3, asked, seed)

    assert before == _traces(t3)


def _traces(t3: Any) -> tuple[object, ...]:
    gc.collect()
    hooks = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in t3.modules())
    tensors = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
    return hooks, len(list(t3.modules())), list(t3.state_dict()), t3.cfg, tensors


@every_model
def test_inference_mode_stays_inside_the_step(model: ChatterboxModel) -> None:
    """Between tokens the caller's torch is as it was."""
    tokens = stream_of(request(model)).tokens(tiny_t3(model))
    next(tokens)

    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


@every_model
def test_tokens_outside_the_codebook_do_not_come_out(model: ChatterboxModel) -> None:
    """A likely start token is part of the history, as for upstream, but S3Gen never sees it."""
    t3 = tiny_t3(model, bias={6561: 6.0, STOP: -50.0})
    stream = stream_of(request(model, max_segment_tokens=60, min_p=0.0, top_p=1.0, repetition_penalty=1.0))
    heard = list(stream.tokens(t3))

    assert 6561 in stream.history
    assert [token for token in stream.history if token < CODEBOOK_TOKENS] == heard
    assert 3 < len(heard) < len(stream.history)


@every_model
@pytest.mark.parametrize("after", [0, 1, 7])
def test_cancel_takes_effect_before_the_next_token(model: ChatterboxModel, after: int) -> None:
    """No token is computed after the flag is set, and the memory is let go."""
    t3, stream = tiny_t3(model), stream_of(request(model))
    for _ in range(after):
        stream.step(t3)
    stream.cancel()

    assert stream.step(t3) is None
    assert TokenFinish.CANCELLED is stream.finish
    assert after == len(stream.history)
    assert "0 MiB" in repr(stream)


def test_cancel_after_the_end_changes_nothing() -> None:
    """Who cancels too late is told how the speech really ended."""
    stream = stream_of(request(ENGLISH, max_segment_tokens=3))
    list(stream.tokens(tiny_t3(ENGLISH)))
    stream.cancel()

    assert TokenFinish.TOKEN_LIMIT is stream.finish


@pytest.mark.parametrize("model", [ENGLISH, TURBO])
def test_loop_is_ended_by_the_guard(model: ChatterboxModel) -> None:
    """A network that says one token for ever is ended after two seconds; without the guard it goes on to the limit.

    Multilingual's alignment guard ends that sooner.
    """
    t3, asked = tiny_t3(model, bias={7: 60.0, STOP: -50.0}), request(model, max_segment_tokens=90)
    stream, unguarded = stream_of(asked), stream_of(replace(asked, watch_loops=False))
    heard = list(stream.tokens(t3))
    list(unguarded.tokens(t3))

    assert (TokenFinish.LOOP, [7] * 51) == (stream.finish, heard)
    assert TokenFinish.TOKEN_LIMIT is unguarded.finish


@every_model
def test_text_budget_ends_what_runs_on(model: ChatterboxModel) -> None:
    """More tokens than the text can need end the speech, with the last one still spoken."""
    t3 = tiny_t3(model, bias={STOP: -50.0})
    stream = stream_of(replace(request(model), text_budget=9))
    list(stream.tokens(t3))

    assert (TokenFinish.TEXT_BUDGET, 9) == (stream.finish, len(stream.history))


@every_model
def test_weights_that_are_no_numbers_fail_their_utterance(model: ChatterboxModel) -> None:
    """NaN becomes an error of this stream; no token is made of it."""
    t3 = tiny_t3(model)
    stream = stream_of(request(model))
    stream.step(t3)
    t3.speech_head.weight[5] = math.nan
    with pytest.raises(ServiceError, match="no numbers") as caught:
        stream.step(t3)

    assert Reason.ENGINE_FAULT is caught.value.reason
    assert (TokenFinish.FAILED, 1) == (stream.finish, len(stream.history))


class FailingOnce(CounterRandom):
    """A source whose calls fail once at a step, after the network has run."""

    def __init__(self, step: int) -> None:
        super().__init__(seed=1, segment=0)
        self._failing_step: int | None = step

    def choose_token(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Raise at the step, the first time."""
        if step == self._failing_step:
            self._failing_step = None
            raise MemoryError
        return super().choose_token(logits, step)


@every_model
@pytest.mark.parametrize("step", [0, 1, 6])
def test_step_that_failed_can_be_made_again(model: ChatterboxModel, step: int) -> None:
    """A step without memory leaves the stream as it was; the tokens are those of a run without the failure."""
    t3, asked = tiny_t3(model), request(model)
    stream, heard = SpeechTokens(asked, FailingOnce(step)), []
    while stream.finish is None:
        try:
            token = stream.step(t3)
        except MemoryError:
            continue
        heard += [] if token is None else [token]

    assert spoken(t3, asked) == heard


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
def test_exaggeration_belongs_to_the_request(model: ChatterboxModel) -> None:
    """It changes the speech and leaves the voice as it was."""
    t3, calm, lively = tiny_t3(model), request(model), request(model, exaggeration=2.0)
    voice = copy.deepcopy(calm.voice)
    first = spoken(t3, calm)

    assert first != spoken(t3, lively)
    assert first == spoken(t3, calm)
    assert torch.equal(voice.speaker, calm.voice.speaker)
    assert torch.equal(voice.tokens, lively.voice.tokens)


def test_speech_without_guidance_needs_half_the_memory() -> None:
    """With `cfg_weight` 0 one row is computed and remembered."""
    t3 = tiny_t3(ENGLISH)
    streams = [stream_of(request(ENGLISH, cfg_weight=weight)) for weight in (0.0, 0.5)]
    for stream in streams:
        stream.step(t3)

    assert 2 * streams[0]._cache.bytes == streams[1]._cache.bytes


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
@pytest.mark.parametrize("field", ["temperature", "cfg_weight", "exaggeration", "min_p", "top_p", "repetition_penalty"])
def test_bad_setting_never_becomes_a_request(field: str, value: float) -> None:
    """The error names the field, before anything is computed."""
    with pytest.raises(CallerError) as caught:
        request(ENGLISH, **{field: value})

    assert f"sampling.{field}" == caught.value.violations[0].field


@pytest.mark.parametrize("token", [-1, 6561])
def test_voice_outside_the_codebook_is_refused(token: int) -> None:
    """A voice with such tokens would end in a fault of the GPU."""
    voice = replace(tiny_voice(ENGLISH), tokens=torch.tensor([5, token]))
    with pytest.raises(ServiceError, match="codebook"):
        replace(request(ENGLISH), voice=voice)


def test_voice_is_read_from_upstreams_conditionals() -> None:
    """T3's part of `conds.pt` becomes plain tensors, without the exaggeration that upstream keeps in it."""
    voice = TokenVoice.from_upstream(
        {
            "speaker_emb": torch.ones(1, 256),
            "cond_prompt_speech_tokens": torch.zeros(1, 150, dtype=torch.int32),
            "emotion_adv": torch.ones(1, 1, 1),
        }
    )

    assert ((256,), (150,)) == (voice.speaker.shape, voice.tokens.shape)
    assert torch.int64 == voice.tokens.dtype
