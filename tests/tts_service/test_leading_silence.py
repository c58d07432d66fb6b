"""Silence before speech goes, speech stays whole: in any pieces, and wherever sound is."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.speech.leading_silence import KEPT_LEAD_SAMPLES, LeadingSilence


@given(
    lead=st.integers(0, 2_000),
    speech=st.integers(1, 500),
    tail=st.integers(0, 500),
    cuts=st.lists(st.integers(0, 3_000), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_leading_silence_is_the_same_in_any_pieces(lead: int, speech: int, tail: int, cuts: list[int]) -> None:
    """However the waveform is cut, what is heard begins just before its first audible sample."""
    wave = np.concatenate([np.zeros(lead), np.full(speech, 0.5), np.zeros(tail)]).astype(np.float32)
    silence = LeadingSilence()
    heard = [silence.trimmed(piece) for piece in np.split(wave, sorted(cut for cut in cuts if cut < len(wave)))]

    assert np.array_equal(wave[max(0, lead - KEPT_LEAD_SAMPLES) :], np.concatenate(heard))


@given(
    quiet=st.integers(0, 2_000),
    cuts=st.lists(st.integers(0, 2_500), max_size=4),
    peak=st.sampled_from([0.0, 0.003, 0.5]),
)
@settings(deadline=None, max_examples=60)
def test_leading_silence_of_tensors_is_that_of_arrays(quiet: int, cuts: list[int], peak: float) -> None:
    """Sound on a device is cut where the same sound on the host is."""
    wave = np.concatenate([np.full(quiet, 0.002), np.full(500, peak)]).astype(np.float32)
    host, device = LeadingSilence(), LeadingSilence()
    spans = pairwise([0, *sorted(min(cut, len(wave)) for cut in cuts), len(wave)])

    for start, end in spans:
        ours = device.trimmed(torch.from_numpy(wave[start:end].copy()))

        assert np.array_equal(host.trimmed(wave[start:end]), np.asarray(ours))

    assert ("over" in repr(host)) == ("over" in repr(device))


def test_what_is_no_number_is_not_taken_for_silence() -> None:
    """It goes on to whoever refuses it, from the host and from a device."""
    wave = np.full(480, np.nan, np.float32)

    assert (480, 480) == (len(LeadingSilence().trimmed(wave)), len(LeadingSilence().trimmed(torch.from_numpy(wave))))
