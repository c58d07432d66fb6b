"""A voice from reference audio: equal to what upstream makes, one module at a time."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.fakes.recordings import recording
from tests.fakes.tiny_encoders import tiny_encoders, upstream_voice
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.s3gen_network import S3GEN_SPEAKER_ENCODER, S3GEN_TOKENIZER, VOICE_ENCODER
from tts_service.speech.reference_audio import read_reference
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_encoding import VoiceEncoding, encoding_rules

ENCODERS = tiny_encoders()
SECOND = 24_000


def encoded(encoding: VoiceEncoding) -> VoiceConditionals:
    """Take every step with only the modules that it asks for."""
    while modules := encoding.next_modules:
        encoding.step({name: ENCODERS[name] for name in modules})
    return encoding.voice()


def differences(ours: VoiceConditionals, theirs: VoiceConditionals) -> dict[str, float]:
    """Return how far two voices are apart, tensor by tensor."""
    mine, other = ours.tensors(), theirs.tensors()
    assert {name: value.shape for name, value in mine.items()} == {name: value.shape for name, value in other.items()}
    return {name: float((mine[name].double() - other[name].double()).abs().max()) for name in mine}


@pytest.mark.parametrize("model", ChatterboxModel)
@pytest.mark.parametrize("seconds", [5.51, 16.3])
def test_voice_from_24_khz_equals_upstreams(tmp_path: Path, model: ChatterboxModel, seconds: float) -> None:
    """Short and long references give upstream's tokens, and its numbers to 1e-4, for all three models."""
    path = tmp_path / "reference.wav"
    soundfile.write(path, recording(seconds), SECOND, subtype="FLOAT")

    ours = encoded(VoiceEncoding(read_reference(path.read_bytes()), encoding_rules(model)))
    apart = differences(ours, upstream_voice(ENCODERS, model, path))

    assert {"t3.tokens": 0.0, "flow.tokens": 0.0} == {name: apart[name] for name in ("t3.tokens", "flow.tokens")}
    assert max(apart.values()) <= 1e-4, apart


@pytest.mark.parametrize(("suffix", "rate_hertz"), [("wav", 44_100), ("flac", 48_000), ("wav", 8_000), ("ogg", 22_050)])
def test_voice_from_a_file_at_another_rate_equals_upstreams(tmp_path: Path, suffix: str, rate_hertz: int) -> None:
    """The way to 24 kHz is upstream's too, and so is the mix of two channels."""
    path = tmp_path / f"reference.{suffix}"
    mono = recording(14.1)[: round(7.013 * rate_hertz)]
    soundfile.write(path, np.stack([mono, 0.5 * np.roll(mono, 7)], axis=1), rate_hertz)

    ours = encoded(VoiceEncoding(read_reference(path.read_bytes()), encoding_rules(ChatterboxModel.ENGLISH)))

    assert max(differences(ours, upstream_voice(ENCODERS, ChatterboxModel.ENGLISH, path)).values()) <= 1e-4


def test_voices_of_two_speakers_differ() -> None:
    """The tiny networks tell recordings apart, or the comparisons above would show nothing."""
    rules = encoding_rules(ChatterboxModel.ENGLISH)
    ann, bob = (encoded(VoiceEncoding(recording(6, seed=seed), rules)) for seed in (3, 4))

    assert all(apart > 1e-3 for apart in differences(ann, bob).values())
    assert len(ann.prompt.tokens.unique()) > 10


def test_each_step_asks_for_one_module_and_keeps_none() -> None:
    """A step names the module that it needs; between two steps every module may leave."""
    encoding = VoiceEncoding(recording(6), encoding_rules(ChatterboxModel.TURBO))
    asked = []
    while modules := encoding.next_modules:
        asked.append(set(modules))
        encoding.step({name: ENCODERS[name] for name in modules})

    assert [{S3GEN_TOKENIZER}, {S3GEN_TOKENIZER}, {S3GEN_SPEAKER_ENCODER}, {VOICE_ENCODER}] == asked
    assert not any(each is ENCODERS[name] for name in ENCODERS for each in vars(encoding).values())


def test_voice_is_plain_tensors_of_the_lengths_that_the_model_takes() -> None:
    """At most 10 s for the flow, T3's own prompt length, two frames a token; nothing is an inference tensor."""
    voice = encoded(VoiceEncoding(recording(20), encoding_rules(ChatterboxModel.TURBO)))

    assert (375, 250, 500) == (len(voice.tokens.tokens), len(voice.prompt.tokens), len(voice.prompt.mel))
    assert not any(tensor.is_inference() or tensor.requires_grad for tensor in voice.tensors().values())
    assert {torch.int64, torch.float32} == {tensor.dtype for tensor in voice.tensors().values()}
    assert voice.byte_count < 170_000
