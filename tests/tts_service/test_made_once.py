"""Voices that are kept where speech is computed: the same object again, and the oldest goes first."""

import torch

from tests.fakes.tiny_t3 import tiny_t3
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.t3_voices import ShownVoices
from tts_service.speech.device_voices import DeviceVoices
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.token_prompt import TokenVoice
from tts_service.speech.voice_conditionals import VoiceConditionals


def voice_of(seed: int) -> VoiceConditionals:
    """Return a voice that is like no other."""
    random = torch.Generator().manual_seed(seed)
    return VoiceConditionals(
        tokens=TokenVoice(
            speaker=torch.randn(256, generator=random), tokens=torch.randint(0, 6561, (6,), generator=random)
        ),
        prompt=MelPrompt(
            tokens=torch.randint(0, 6561, (4,), generator=random),
            mel=torch.randn(8, 80, generator=random),
            speaker=torch.randn(192, generator=random),
        ),
    )


def test_voice_goes_to_the_device_once() -> None:
    """Whoever speaks with it again is given the same tensors."""
    voices, voice = DeviceVoices(torch.device("cpu")), voice_of(1)
    first, second = voices.there(voice), voices.there(voice)

    assert first is second
    assert torch.equal(voice.prompt.mel, first.prompt.mel)


def test_voice_that_was_not_asked_for_the_longest_goes_first() -> None:
    """Of three voices where two have room, the one in use stays."""
    voices, one, two, three = DeviceVoices(torch.device("cpu"), most=2), voice_of(1), voice_of(2), voice_of(3)
    kept, lost = voices.there(one), voices.there(two)
    voices.there(one)
    voices.there(three)

    assert kept is voices.there(one)
    assert lost is not voices.there(two)


def test_voice_made_anew_under_its_old_name_is_another_one() -> None:
    """A voice is known by its object: what was deleted and made again is not what was kept."""
    voices = DeviceVoices(torch.device("cpu"))
    first, second = voices.there(voice_of(1)), voices.there(voice_of(2))

    assert not torch.equal(first.prompt.mel, second.prompt.mel)


def test_liveliness_has_embeddings_of_its_own() -> None:
    """One voice, two exaggerations: two results, each kept, and the oldest goes."""
    t3, voice, shown = tiny_t3(ChatterboxModel.ENGLISH), voice_of(1).tokens, ShownVoices(most=2)
    with torch.inference_mode():
        calm, lively = shown.embeddings(t3, voice, 0.2), shown.embeddings(t3, voice, 0.9)
        calm_again = shown.embeddings(t3, voice, 0.2)
        shown.embeddings(t3, voice, 0.5)
        lively_again = shown.embeddings(t3, voice, 0.9)

    assert not torch.equal(calm, lively)
    assert calm is calm_again
    assert lively is not lively_again
    assert torch.equal(lively, lively_again)
