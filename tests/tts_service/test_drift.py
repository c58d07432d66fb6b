"""The drift of lower precisions, as the benchmark measures it, on tiny weights."""

import math

import pytest
import torch

from benchmarks.drift import Row, drift, logits_row, mel_row, wave_row
from tests.fakes.tiny_weights import tiny_folder
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Row]]:
    """Give the rows of a tiny English model."""
    torch.set_num_threads(1)
    folder = tiny_folder(tmp_path_factory.getbasetemp(), ChatterboxModel.ENGLISH)
    return drift(folder, ChatterboxModel.ENGLISH, CPU, tokens=20)


def test_fp32_does_not_drift_from_itself(english: dict[str, dict[str, Row]]) -> None:
    """What is compared is the precision and nothing else."""
    assert 0 == english[T3]["fp32 again"]["KL max, nats"] == english[T3]["fp32 again"]["logit error max"]
    assert 0 == english[S3GEN_VOCODER]["fp32 again"]["error of peak"]
    assert english[S3GEN_FLOW]["fp32, as products want it"]["error max"] < 1e-4


def test_lower_precision_drifts_a_little_and_fp16_less_than_bf16(english: dict[str, dict[str, Row]]) -> None:
    """The figures order the types as their mantissas do, and stay far below what would change a word."""
    t3, flow = english[T3], english[S3GEN_FLOW]

    assert 0 < t3["fp16"]["KL mean, nats"] < t3["bf16"]["KL mean, nats"] < 0.01
    assert t3["bf16, head in fp32"]["KL mean, nats"] < t3["bf16"]["KL mean, nats"]
    assert 0 < flow["fp16"]["log-mel distance, dB"] < flow["bf16"]["log-mel distance, dB"] < 0.5
    assert english[S3GEN_VOCODER]["bf16"]["signal to error, dB"] < english[S3GEN_VOCODER]["fp16"]["signal to error, dB"]


def test_divergence_of_two_choices_is_what_a_hand_computes() -> None:
    """Even odds against three to one: the mean of both logarithms."""
    even, uneven = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])
    row = logits_row(even, uneven)

    assert math.isclose(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25), row["KL mean, nats"], rel_tol=1e-6)
    assert math.isclose(math.log(3), row["logit error max"], rel_tol=1e-6)


def test_mel_ten_times_as_strong_is_twenty_decibels_away() -> None:
    """Mels are natural logarithms of amplitudes."""
    mel = torch.zeros(80, 4)

    assert math.isclose(20, mel_row(mel, mel + math.log(10))["log-mel distance, dB"], rel_tol=1e-6)


def test_wave_with_a_tenth_of_error_is_twenty_decibels_good() -> None:
    """Signal to error counts energy."""
    wave = torch.sin(torch.linspace(0, 400, 24_000))

    assert math.isclose(20, wave_row(wave, 1.1 * wave)["signal to error, dB"], rel_tol=1e-3)
