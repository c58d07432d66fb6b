"""Chatterbox as a speech model: stages take turns, modules may move between them, and requests share nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes.tiny_chatterbox import DEFAULT_VOICE, TinyChatterbox, segment_of
from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.speech import chatterbox_tokens
from tts_service.speech.chatterbox_speech import model_settings, sampling_of
from tts_service.speech.chatterbox_tokens import TOKENS_AT_ONCE, TURBO_TAIL, TokenStage
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_model import all_ended, next_stage
from tts_service.speech.speech_outcome import SpeechGuard
from tts_service.types import Waveform

SAMPLES_PER_TOKEN = 960
HELLO = "Hello there, this is one."
SECOND = "And this is a second sentence, somewhat longer than the first."
EVERY_MODEL = pytest.mark.parametrize("model", ChatterboxModel)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of weights that all tests of a run share."""
    return tmp_path_factory.getbasetemp().parent / "tiny-weights"


@pytest.fixture(scope="module")
def english(shared: Path) -> TinyChatterbox:
    """Return the English model."""
    return TinyChatterbox(shared, ChatterboxModel.ENGLISH)


@pytest.fixture(scope="module", params=ChatterboxModel)
def tiny(shared: Path, request: pytest.FixtureRequest) -> TinyChatterbox:
    """Return each model."""
    return TinyChatterbox(shared, request.param)


def test_every_token_becomes_960_samples(tiny: TinyChatterbox) -> None:
    """A segment is as long as its tokens say, whatever chunks it came in; Turbo has its tail of silence besides."""
    segment = tiny.speech.utterance(tiny.config()).segment(segment_of(SECOND), 0)
    pieces = [piece for piece in tiny.steps(segment) if len(piece)]

    tail = len(TURBO_TAIL) if tiny.model is ChatterboxModel.TURBO else 0
    assert len(pieces) > 1
    assert segment.outcome.speech_tokens > 0
    assert (segment.outcome.speech_tokens + tail) * SAMPLES_PER_TOKEN == sum(map(len, pieces))


def test_modules_that_move_between_any_two_steps_change_nothing(tiny: TinyChatterbox) -> None:
    """Each module is loaded anew before every step that needs it, and the samples are the same."""
    still = tiny.spoken(tiny.config(), HELLO)
    segment = tiny.speech.utterance(tiny.config()).segment(segment_of(HELLO), 0)

    moving = np.concatenate(list(tiny.steps(segment, before=tiny.moved)))

    assert len(still) > 0
    assert np.array_equal(still, moving)


def test_each_step_asks_for_one_module(english: TinyChatterbox) -> None:
    """The stages take turns in the order of the data path, so that each module may leave while others have theirs."""
    segment = english.speech.utterance(english.config()).segment(segment_of(HELLO), 0)
    turns = []
    while (stage := next_stage(segment.stages)) is not None:
        (module,) = stage.modules
        if not turns or turns[-1] != module:
            turns.append(module)
        stage.step({module: english.modules[module]})

    assert [T3, S3GEN_FLOW, S3GEN_VOCODER] * (len(turns) // 3) == turns


def test_ten_utterances_that_take_turns_are_each_as_if_alone(english: TinyChatterbox) -> None:
    """Voices, seeds and exaggeration of others leave no trace, in whatever order their steps come."""
    other = replace(english.voice, prompt=replace(english.voice.prompt, speaker=-english.voice.prompt.speaker))
    english.voices.voices["other"] = other
    configs = [
        english.config(voice=(DEFAULT_VOICE, "other")[i % 2], seed=i // 4, exaggeration=0.2 + 0.7 * (i // 2 % 2))
        for i in range(10)
    ]
    alone = [english.spoken(config, HELLO) for config in configs]
    waves: list[list[Waveform]] = [[] for _ in configs]
    running = {i: english.pieces(config, HELLO) for i, config in enumerate(configs)}
    order = np.random.default_rng(7)
    while running:
        chosen = int(order.choice(list(running)))
        piece = next(running[chosen], None)
        if piece is None:
            del running[chosen]
        else:
            waves[chosen].append(piece)

    assert 10 == len({wave.tobytes() for wave in alone})
    assert all(np.array_equal(wave, np.concatenate(own)) for wave, own in zip(alone, waves, strict=True))


def test_chunks_grow_over_the_utterance(english: TinyChatterbox) -> None:
    """The second segment does not begin with a small chunk again."""
    first, second = [
        [len(piece) for piece in english.steps(english_segment) if len(piece)]
        for utterance in [english.speech.utterance(english.config())]
        for english_segment in (utterance.segment(segment_of(HELLO), 0), utterance.segment(segment_of(HELLO), 1))
    ]

    assert first[0] < second[0]


@pytest.mark.parametrize("at_once", [1, 5, 100])
@pytest.mark.parametrize(("total", "expected"), [(18, [4, 14]), (19, [4, 10, 5]), (30, [4, 10, 16]), (5, [4, 1])])
def test_short_tail_belongs_to_the_chunk_before_it(
    english: TinyChatterbox, monkeypatch: pytest.MonkeyPatch, total: int, expected: list[int], at_once: int
) -> None:
    """But the first chunk waits for none; and it is the same however many tokens come at once."""
    monkeypatch.setattr(chatterbox_tokens, "TOKENS_AT_ONCE", at_once)
    utterance = english.speech.utterance(english.config(max_segment_tokens=total))
    utterance.schedule = ChunkSchedule(first_tokens=4, next_tokens=10, growth=2.0, max_tokens=12, tail_tokens=4)
    segment = utterance.segment(segment_of(SECOND), 0, in_turns=True)
    tokens = segment.stages[0]
    assert isinstance(tokens, TokenStage)
    while tokens.has_step:
        tokens.step(english.modules)

    assert SpeechGuard.TOKEN_LIMIT == segment.outcome.guard
    assert expected == [len(chunk.tokens) for chunk in tokens.chunks]


def test_tokens_rest_while_the_first_sound_is_made(english: TinyChatterbox) -> None:
    """With the first chunk handed over there is none to take until it sounds; from then on they run ahead again."""
    utterance = english.speech.utterance(english.config())
    segment = utterance.segment(segment_of(SECOND), 0)
    tokens, mel, waveform = segment.stages
    while not mel.has_step:
        tokens.step(english.modules)
    rested = [tokens.has_step]
    mel.step(english.modules)
    rested.append(tokens.has_step)
    waveform.step(english.modules)
    went_on = tokens.has_step
    while not mel.has_step:
        tokens.step(english.modules)

    assert [False, False] == rested
    assert went_on
    assert tokens.has_step


def test_tokens_go_on_when_the_first_chunk_makes_no_sound(
    english: TinyChatterbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk too small for the vocoder's look-ahead brings nothing, and nobody waits for its sound."""
    monkeypatch.setattr(english.speech, "schedule", ChunkSchedule(first_tokens=4, next_tokens=4))
    segment = english.speech.utterance(english.config()).segment(segment_of(SECOND), 0)
    tokens, mel, waveform = segment.stages
    while not mel.has_step:
        tokens.step(english.modules)
    mel.step(english.modules)
    first = waveform.step(english.modules)
    went_on = tokens.has_step
    rest = list(english.steps(segment))

    assert first is not None
    assert 0 == len(first)
    assert went_on
    assert sum(map(len, rest)) > 0


def test_seed_decides_the_samples(english: TinyChatterbox) -> None:
    """The same seed gives the same samples, another seed others."""
    same = [english.spoken(english.config(seed=seed), HELLO).tobytes() for seed in (1, 1, 2)]

    assert (True, False) == (same[0] == same[1], same[1] == same[2])


def test_cancelled_segment_takes_no_further_step(english: TinyChatterbox) -> None:
    """Once cancelled it wants no module."""
    segment = english.speech.utterance(english.config()).segment(segment_of(HELLO), 0)
    segment.stages[0].step(english.modules)
    segment.cancel()

    assert next_stage(segment.stages) is None
    assert all_ended(segment.stages)


def test_cancel_within_a_step_ends_it_before_the_next_token(english: TinyChatterbox) -> None:
    """A step of several tokens looks for the cancel before each of them."""
    segment = english.speech.utterance(english.config()).segment(segment_of(HELLO), 0)
    t3 = english.modules[T3]
    heads: list[int] = []

    def cancel_at_the_third(*_: object) -> None:
        heads.append(1)
        if len(heads) == 3:
            segment.cancel()

    hook = t3.speech_head.register_forward_hook(cancel_at_the_third)
    try:
        segment.stages[0].step({T3: t3})
    finally:
        hook.remove()

    assert TOKENS_AT_ONCE > 3
    assert 3 == len(heads)
    assert all_ended(segment.stages)


def test_token_limit_is_reported(english: TinyChatterbox) -> None:
    """A segment that reaches its limit ends there, is heard, and says what ended it."""
    segment = english.speech.utterance(english.config(max_segment_tokens=5)).segment(segment_of(SECOND), 0)
    wave = np.concatenate(list(english.steps(segment)))

    assert SpeechGuard.TOKEN_LIMIT is segment.outcome.guard
    assert (5, 5 * SAMPLES_PER_TOKEN) == (segment.outcome.speech_tokens, len(wave))


def test_tag_of_another_model_is_refused(english: TinyChatterbox) -> None:
    """Turbo's tags would be read out by the English model, so that it refuses them."""
    segment = english.speech.utterance(english.config()).segment(segment_of("Well [laugh] that is fun."), 0)

    with pytest.raises(CallerError, match="tag of the turbo model"):
        segment.stages[0].step(english.modules)


def test_voice_outside_the_codebook_never_reaches_the_device(english: TinyChatterbox) -> None:
    """There it would end in a fault; nobody looks at it again."""
    tokens = replace(english.voice.tokens, tokens=torch.full_like(english.voice.tokens.tokens, 6561))
    moved = []

    class Watched(type(english.voice)):  # type: ignore[misc]  # A class of the value's own kind.
        def to(self, device: torch.device) -> object:
            moved.append(device)
            return super().to(device)

    damaged = Watched(tokens=tokens, prompt=english.voice.prompt)
    with pytest.raises(ServiceError, match="codebook"):
        english.speech.there(damaged)

    assert not moved
    assert english.speech.there(Watched(tokens=english.voice.tokens, prompt=english.voice.prompt)) is not None
    assert 1 == len(moved)


def test_voice_that_is_gone_is_refused(english: TinyChatterbox) -> None:
    """An utterance of a voice that was deleted does not begin; one that began keeps it."""
    english.voices.voices["brief"] = english.voice
    begun = english.speech.utterance(english.config(voice="brief"))
    del english.voices.voices["brief"]

    with pytest.raises(CallerError) as refused:
        english.speech.utterance(english.config(voice="brief"))

    assert Reason.VOICE_NOT_FOUND is refused.value.reason
    assert any(len(piece) for piece in english.steps(begun.segment(segment_of(HELLO), 0)))


def test_text_of_too_many_tokens_is_refused(english: TinyChatterbox) -> None:
    """A segment beyond T3's positions is the caller's fault, and says how many there may be."""
    segment = english.speech.utterance(english.config()).segment(segment_of("word " * 3_000), 0)

    with pytest.raises(CallerError) as refused:
        segment.stages[0].step(english.modules)

    assert Reason.TEXT_TOO_LONG is refused.value.reason


@EVERY_MODEL
def test_settings_on_the_wire_are_the_loops_own(model: ChatterboxModel) -> None:
    """A model's default settings, taken as a request's, are its defaults; one that changes, changes alone."""
    assert default_sampling(model) == sampling_of(model_settings(model), model)
    assert replace(default_sampling(model), max_segment_tokens=7) == sampling_of({"max_segment_tokens": 7}, model)


def test_voice_moves_to_a_device_and_back_as_tensors(english: TinyChatterbox) -> None:
    """A voice is five tensors, none of them a setting, and survives being named and rebuilt."""
    moved = english.voice.to(torch.device("meta"))

    assert {"meta"} == {tensor.device.type for tensor in moved.tensors().values()}
    assert english.voice.byte_count == moved.byte_count
    assert sum(tensor.nbytes for tensor in english.voice.tensors().values()) == english.voice.byte_count
