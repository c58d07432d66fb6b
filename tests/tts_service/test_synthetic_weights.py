"""Synthetic weights: upstream's layout, the same for the same seed, whole or not there, and they speak."""

import errno
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from benchmarks.upstream_t3 import upstream_twin
from tests.fakes.tiny_weights import tiny_folder
from tts_service.errors import StartupError
from tts_service.models.chatterbox import synthetic_folder
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.layout import LAYOUTS
from tts_service.models.chatterbox.loading import no_progress, open_weights
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.planted_vocoder import calibration_mel
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER, VOICE_ENCODER
from tts_service.models.chatterbox.synthetic_folder import ensure_synthetic, write_synthetic
from tts_service.models.chatterbox.synthetic_modules import SyntheticModel
from tts_service.models.chatterbox.t3_network import T3, t3_hyper_parameters
from tts_service.models.chatterbox.upstream import quiet, upstream
from tts_service.models.chatterbox.weight_file import safetensors_metadata
from tts_service.models.synthesize_weights import app

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
EVERY_MODEL = pytest.mark.parametrize("model", ChatterboxModel)
TINY_ENGLISH = SyntheticModel(model=ENGLISH, size=NetworkSize.TINY, seed=0)
CODEBOOK_TOKENS, STOP = 6561, 6562


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where this run's tiny weights are."""
    return tmp_path_factory.getbasetemp()


def _sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@EVERY_MODEL
def test_folder_has_every_file_of_the_layout(shared: Path, model: ChatterboxModel) -> None:
    """Upstream's loader finds all that it asks for, and nothing else is there."""
    assert set(LAYOUTS[model].files) == {path.name for path in tiny_folder(shared, model).iterdir()}


def test_same_seed_gives_the_same_bytes(shared: Path, tmp_path: Path) -> None:
    """All files of a seed are the same whenever they are made; another seed's weights and voice are not."""
    model, again, other = MULTILINGUAL, tmp_path / "again", tmp_path / "other"  # It has both forms of file.
    write_synthetic(again, SyntheticModel(model=model, size=NetworkSize.TINY, seed=0), progress=no_progress)
    write_synthetic(other, SyntheticModel(model=model, size=NetworkSize.TINY, seed=1), progress=no_progress)
    first, others = _sums(tiny_folder(shared, model)), _sums(other)

    assert first == _sums(again)
    assert {*LAYOUTS[model].weight_files, "conds.pt"} == {name for name in first if first[name] != others[name]}


def test_files_say_that_they_are_synthetic(shared: Path) -> None:
    """Nobody takes them for real ones."""
    metadata = safetensors_metadata(tiny_folder(shared, ENGLISH) / "t3_cfg.safetensors")

    assert {"made_by": "greenroom: synthetic english tiny seed 0"} == metadata


def test_progress_ends_at_all_bytes(tmp_path: Path) -> None:
    """What is told rises to the sum of all weights."""
    told: list[tuple[int, int]] = []
    write_synthetic(tmp_path / "out", TINY_ENGLISH, progress=lambda done, total: told.append((done, total)))
    weights = open_weights(tmp_path / "out", ENGLISH)
    total = sum(weights.byte_count(module) for module in weights.modules)

    assert sorted(told) == told
    assert (total, total) == told[-1]


def test_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """Weights are never written over something else."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StartupError, match="is there already"):
        write_synthetic(tmp_path, TINY_ENGLISH, progress=no_progress)

    assert ["mine.txt"] == [path.name for path in tmp_path.iterdir()]


def test_disk_without_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """The message says how much is needed."""
    with pytest.raises(StartupError, match=r"No space left on device.*has 7\d MiB free"):
        write_synthetic(tmp_path / "out", TINY_ENGLISH, progress=no_progress, free_bytes=lambda _: 1 << 20)

    assert [] == list(tmp_path.iterdir())


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow beyond a mebibyte; writing on is an error of the operating system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_disk_that_fails_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    """A folder appears whole or not at all."""
    with pytest.raises(StartupError, match=os.strerror(errno.EFBIG)):
        write_synthetic(tmp_path / "out", TINY_ENGLISH, progress=no_progress)

    assert [] == list(tmp_path.iterdir())


def test_interruption_leaves_nothing(tmp_path: Path) -> None:
    """Nor does Ctrl-C in the middle leave a half folder behind."""

    def interrupt(done: int, total: int) -> None:
        if 2 * done > total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "out", TINY_ENGLISH, progress=interrupt)

    assert [] == list(tmp_path.iterdir())


def test_cache_is_filled_once(tmp_path: Path) -> None:
    """The second time, nothing is made."""
    first = ensure_synthetic(tmp_path, TINY_ENGLISH, progress=no_progress)
    told: list[int] = []
    second = ensure_synthetic(tmp_path, TINY_ENGLISH, progress=lambda done, _: told.append(done))

    assert (first, []) == (second, told)


def test_cache_that_another_process_fills_meanwhile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two services that start at once do not fail each other."""

    def other_wins(folder: Path, made: SyntheticModel, **settings: Any) -> None:
        write_synthetic(folder, made, **settings)
        raise StartupError("is there already")

    monkeypatch.setattr(synthetic_folder, "write_synthetic", other_wins)
    folder = ensure_synthetic(tmp_path, TINY_ENGLISH, progress=no_progress)

    assert open_weights(folder, ENGLISH)


def test_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file stands where the cache should be."""
    (tmp_path / "synthetic").write_text("")
    with pytest.raises(StartupError, match=os.strerror(errno.ENOTDIR) + "|" + os.strerror(errno.EEXIST)):
        ensure_synthetic(tmp_path, TINY_ENGLISH, progress=no_progress)


def test_command_writes_a_folder(shared: Path, tmp_path: Path) -> None:
    """The command makes what the loader makes for itself, and refuses to do it twice."""
    arguments = ["--model", "english", "--size", "tiny", "--seed", "0", str(tmp_path / "out")]
    first, second = CliRunner().invoke(app, arguments), CliRunner().invoke(app, arguments)

    assert (0, 1) == (first.exit_code, second.exit_code), first.output
    assert "is there already" in second.output.replace("\n", " ")
    assert _sums(tiny_folder(shared, ENGLISH)) == _sums(tmp_path / "out")


def test_command_runs_as_a_module() -> None:
    """`python -m tts_service.models.synthesize_weights --help` is there."""
    command = [sys.executable, "-W", "ignore", "-m", "tts_service.models.synthesize_weights", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)

    assert (0, True) == (run.returncode, "synthetic weights" in run.stdout)


def _utterance(t3: Any, folder: Path, text_tokens: int, seed: int) -> list[int]:
    """Return what upstream's own decode loop says, at its default settings, stop token included if it came."""
    is_turbo = t3.is_gpt
    text = torch.randint(1, 254, (1, text_tokens), generator=torch.Generator().manual_seed(seed))
    conditioning = upstream("models.t3.modules.cond_enc").T3Cond(**read_conditionals(folder / "conds.pt").t3)
    torch.manual_seed(seed)
    with quiet():
        if is_turbo:
            spoken = t3.inference_turbo(conditioning, text)
        else:
            text[0, 0], text[0, -1] = t3.hp.start_text_token, t3.hp.stop_text_token
            penalty = 2.0 if t3.hp.is_multilingual else 1.2
            spoken = t3.inference(
                t3_cond=conditioning, text_tokens=text.repeat(2, 1), max_new_tokens=200, repetition_penalty=penalty
            )
    return [int(token) for token in spoken[0]]


@EVERY_MODEL
def test_utterances_stop_and_stay_in_the_codebook(shared: Path, model: ChatterboxModel) -> None:
    """By upstream's own loop: tens of tokens, then the stop token, and never one that has no sound."""
    folder = tiny_folder(shared, model)
    tokens = _utterance(upstream_twin(open_weights(folder, model).load(T3)), folder, text_tokens=20, seed=1)
    spoken = tokens if model is TURBO else tokens[:-1]

    assert model is TURBO or STOP == tokens[-1]
    assert 10 <= len(spoken) <= 80
    assert max(spoken) < CODEBOOK_TOKENS


@pytest.mark.parametrize("model", [ENGLISH, TURBO])
def test_sound_is_voiced_with_stretches_that_are_not(shared: Path, model: ChatterboxModel) -> None:
    """f0 lies between 80 and 300 Hz in most frames, some stretches have none, and the wave has a speaker's level."""
    weights = open_weights(tiny_folder(shared, model), model)
    flow, vocoder = weights.load(S3GEN_FLOW), weights.load(S3GEN_VOCODER)
    voice = read_conditionals(weights.folder / "conds.pt").gen
    mel = calibration_mel(flow, voice, tokens=150, meanflow=model is TURBO, seed=99)
    predictor: Any = vocoder.f0_predictor
    f0 = predictor(mel)[0]
    unvoiced, voiced = f0 < 10, (f0 > 80) & (f0 < 300)
    wave = vocoder.inference(speech_feat=mel)[0]  # type: ignore[operator]  # A method, which torch's types do not know.

    assert float((unvoiced | voiced).float().mean()) > 0.97
    assert 0.4 < float(voiced.float().mean()) < 0.97
    assert bool((unvoiced[:-2] & unvoiced[1:-1] & unvoiced[2:]).any())
    assert 0.15 < float(wave.abs().max())
    assert 0.01 < float(wave.square().mean().sqrt()) < 0.4


def test_upstreams_own_classes_load_the_tiny_sizes_that_they_allow(shared: Path) -> None:
    """Turbo's T3, whose widths are all in its configuration, and the voice, are loaded by upstream alone."""
    folder = tiny_folder(shared, TURBO)
    with quiet():
        t3 = upstream("models.t3").T3(t3_hyper_parameters(TURBO, NetworkSize.TINY))
    t3.load_state_dict(load_file(folder / "t3_turbo_v1.safetensors"))
    voice = upstream("tts_turbo").Conditionals.load(folder / "conds.pt")

    assert 375 == voice.t3.cond_prompt_speech_tokens.shape[1]
    assert open_weights(folder, TURBO).byte_count(VOICE_ENCODER) > 0
