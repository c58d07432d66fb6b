"""A whole utterance against upstream's `generate()` for the same random state, from text to samples, in all models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.upstream_models import upstream_assembled
from tests.fakes.tiny_weights import tiny_folder
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.upstream import quiet, upstream
from tts_service.speech.chatterbox_tokens import TURBO_TAIL
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.random_source import UpstreamRandom
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_tokens import TokenRequest
from tts_service.speech.text_tokens import text_tokens, text_vocabulary
from tts_service.speech.token_prompt import TokenVoice
from tts_service.speech.whole_utterance import SpeechNetworks, sounding_tokens, whole_utterance

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
TEXT = "every actor waits here until a voice calls: listen"

GRID = [
    (ENGLISH, "en", {}),
    (ENGLISH, "en", {"cfg_weight": 1.1, "exaggeration": 1.2, "temperature": 1.3, "top_p": 0.9, "min_p": 0.0}),
    (MULTILINGUAL, "en", {}),
    (MULTILINGUAL, "de", {"cfg_weight": 0.0}),
    (MULTILINGUAL, "ko", {"repetition_penalty": 1.1, "exaggeration": 0.7}),
    (TURBO, "en", {}),
    (TURBO, "en", {"top_k": 40, "top_p": 0.8, "temperature": 1.0, "repetition_penalty": 1.5}),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the place of the tiny models of this file."""
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def objects(folders: Path) -> dict[ChatterboxModel, Any]:
    """Give upstream's objects; where upstream has used a network, its hooks stay on it, as they do for its users."""
    return {model: upstream_assembled(tiny_folder(folders, model), model) for model in ChatterboxModel}


def generated(theirs: Any, seed: int, language: str, settings: dict[str, Any]) -> torch.Tensor:
    """Return upstream's waveform (samples,) after seeding torch."""
    spoken_in = {"language_id": language} if hasattr(theirs, "get_supported_languages") else {}
    torch.manual_seed(seed)
    with quiet():
        wave: torch.Tensor = theirs.generate(TEXT, **spoken_in, **settings)
    return wave[0]


def spoken(theirs: Any, model: ChatterboxModel, seed: int, language: str, settings: dict[str, Any]) -> torch.Tensor:
    """Return our waveform (samples,) of the same networks and voice, after seeding torch."""
    networks = SpeechNetworks(t3=theirs.t3, flow=theirs.s3gen.flow, vocoder=theirs.s3gen.mel2wav)
    request = TokenRequest(
        model=model,
        text=text_tokens(
            TEXT,
            model=model,
            tokenizer=theirs.tokenizer,
            language=language,
            vocabulary=text_vocabulary(theirs.t3.hp, model),
        ),
        voice=TokenVoice.from_upstream(vars(theirs.conds.t3)),
        sampling=replace(default_sampling(model), **settings),
        watch_loops=False,
    )
    prompt = MelPrompt.from_upstream(theirs.conds.gen)
    torch.manual_seed(seed)
    return whole_utterance(networks, request, prompt, UpstreamRandom())


@pytest.mark.parametrize(("model", "language", "settings"), GRID)
@pytest.mark.parametrize("seed", [1, 2])
def test_whole_utterance_equals_upstreams_generate(
    objects: dict[ChatterboxModel, Any], model: ChatterboxModel, language: str, settings: dict[str, Any], seed: int
) -> None:
    """Every bit is upstream's before its watermark, and the generator is where upstream leaves it."""
    expected = generated(objects[model], seed, language, settings)
    expected_next = torch.rand(1)
    wave = spoken(objects[model], model, seed, language, settings)

    assert 5 * 960 < len(wave)
    assert 0.05 < wave.abs().max()
    assert torch.equal(expected, wave)
    assert torch.equal(expected_next, torch.rand(1))


@pytest.mark.parametrize("model", ChatterboxModel)
def test_whole_utterance_with_an_odd_prompt_equals_upstreams_generate(folders: Path, model: ChatterboxModel) -> None:
    """Where the reference leaves a frame more than two a token, upstream's sample count comes out, too."""
    theirs = upstream_assembled(tiny_folder(folders, model), model)
    mel = theirs.conds.gen["prompt_feat"]
    theirs.conds.gen["prompt_feat"] = torch.cat([mel, mel[:, -1:]], dim=1)
    expected = generated(theirs, 5, "en", {})
    wave = spoken(theirs, model, 5, "en", {})

    assert 480 == len(wave) % 960
    assert torch.equal(expected, wave)


def test_start_token_drops_what_precedes_it() -> None:
    """As upstream does, English leaves out all before a start token and all tokens that are none of the codebook's."""
    assert [3, 4] == sounding_tokens([1, 2, 6561, 3, 6563, 4, 6562], ENGLISH)


def test_turbo_keeps_what_precedes_a_start_token_and_ends_in_silence() -> None:
    """As upstream does, Turbo leaves out single tokens only, and appends three of silence."""
    assert [1, 2, 3, 4299, 4299, 4299] == sounding_tokens([1, 2, 6561, 3, 6562], TURBO)


def test_turbos_silence_is_upstreams() -> None:
    """The silent token is the one that upstream's code names."""
    silent: int = upstream("models.s3gen.const").S3GEN_SIL

    assert (silent,) * 3 == TURBO_TAIL
