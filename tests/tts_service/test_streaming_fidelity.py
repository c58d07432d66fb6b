"""Streamed speech against whole, as the benchmark measures it, on weights whose voice begins and ends sharply."""

import pytest
import torch

from benchmarks.streaming_fidelity import Distances, measured
from benchmarks.streaming_schemes import Networks, Scheme, fork, ours
from tests.fakes.tiny_weights import tiny_folder
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.loading import open_weights
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.mel_flow import MelPrompt

SCHEDULES = pytest.mark.parametrize(
    "schedule", [ChunkSchedule(), ChunkSchedule(first_tokens=25, next_tokens=25, growth=1.0)], ids=["growing", "even"]
)


@pytest.fixture(scope="module", params=[ChatterboxModel.ENGLISH, ChatterboxModel.TURBO])
def networks(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Networks:
    """Give the two networks of the sound path and the voice of a tiny synthetic model."""
    torch.set_num_threads(1)
    folder = tiny_folder(tmp_path_factory.mktemp("weights"), request.param)
    weights = open_weights(folder, request.param)
    prompt = MelPrompt.from_upstream(read_conditionals(folder / "conds.pt").gen).trimmed()
    return Networks(flow=weights.load(S3GEN_FLOW), vocoder=weights.load(S3GEN_VOCODER), prompt=prompt)


def distances(networks: Networks, scheme: Scheme, seed: int) -> Distances:
    """Return how far a scheme is from the whole for tokens of a seed."""
    drawn = torch.randint(0, 6561, (100,), generator=torch.Generator().manual_seed(seed))
    return measured(scheme, networks, drawn.tolist(), seed)


@SCHEDULES
def test_chunks_fit_to_a_thousandth_of_the_peak(networks: Networks, schedule: ChunkSchedule) -> None:
    """Sound in chunks is that of the same mel and excitation in one piece, also where a voice begins at a seam."""
    found = [distances(networks, ours(schedule), seed) for seed in (1, 2)]

    assert [0, 0] == [each.missing_samples for each in found]
    assert all(each.one_piece_error is not None and each.one_piece_error < 1e-3 for each in found)
    assert all(each.seam_jump <= 1.1 for each in found)


def test_our_stream_is_nearer_to_the_whole_than_the_forks(networks: Networks) -> None:
    """With the same tokens and noise our mel and sound differ less, and no seam is soft, as all of the fork's are."""
    our, their = (distances(networks, scheme, 3) for scheme in (ours(ChunkSchedule()), fork))

    assert our.mel_decibels < 0.2 * their.mel_decibels
    assert our.sound_decibels < their.sound_decibels
    assert our.seam_dip_decibels < 3 < their.seam_dip_decibels
