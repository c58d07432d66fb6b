"""Ogg/Opus: whole pages at once, exact length, and what decoders make of it."""

import io
import struct
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile
import soxr

from tests.fakes.arrivals import in_pieces
from tests.fakes.waves import speechlike
from tts_service.speech.ogg_opus import OPUS_RATES_HERTZ, OggOpus, ogg_page
from tts_service.types import EncodedPiece, Waveform

PRE_SKIP_GRANULES = 120


def clip(rate_hertz: int, length: int) -> Waveform:
    """Return a speech-like clip at a rate."""
    wave = speechlike(length * 24_000 // rate_hertz + 2_400)
    return np.asarray(soxr.resample(wave, 24_000, rate_hertz), np.float32)[:length]


def coded(wave: Waveform, rate_hertz: int, size: int) -> list[EncodedPiece]:
    """Return the pieces for audio that comes in writes of this size."""
    stream = OggOpus(rate_hertz)
    return [*(stream.write(piece) for piece in in_pieces(wave, size)), stream.finish()]


def pages(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Return kind, granule, sequence and packet of each page, its checksum checked bit by bit."""
    found = []
    at = 0
    while at < len(data):
        magic, version, kind, granule, _, sequence, checksum, laces = struct.unpack_from("<4sBBqIIIB", data, at)
        body = at + 27 + laces
        size = sum(data[at + 27 : body])
        page = data[at : body + size]
        assert (b"OggS", 0, slow_checksum(page[:22] + bytes(4) + page[26:])) == (magic, version, checksum)
        found.append((kind, granule, sequence, page[-size:]))
        at = body + size
    return found


def slow_checksum(data: bytes) -> int:
    """Return the CRC of RFC 3533 as it is written there: polynomial 0x04c11db7, nothing inverted."""
    register = 0
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ 0x04C11DB7 if register & 0x80000000 else register << 1) & 0xFFFFFFFF
    return register


def test_page_holds_a_packet_of_any_length() -> None:
    """Lacing and checksum are right also where the packet fills whole laces."""
    for length in (1, 254, 255, 256, 600):
        packet = bytes(range(256)) * 3

        assert [(4, 7, 3, packet[:length])] == pages(ogg_page(packet[:length], kind=4, granule=7, sequence=3))


def test_each_write_sends_its_complete_frames_at_once() -> None:
    """Every 20 ms that are complete leave as a page; headers go before the first."""
    stream = OggOpus(24_000)
    sent = [len(pages(stream.write(piece).data)) for piece in in_pieces(clip(24_000, 480 * 4), 240)]

    assert [0, 3, 0, 1, 0, 1, 0, 1] == sent


def test_pages_are_numbered_and_timed() -> None:
    """Headers at position 0, then 20 ms a page, and the last page ends where the audio ends."""
    found = pages(b"".join(piece.data for piece in coded(clip(16_000, 1_000), 16_000, 100)))
    kinds, granules, sequences, packets = zip(*found, strict=True)

    assert (2, 0, 0, 0, 0, 4) == kinds
    assert (0, 0, 960, 1_920, 2_880, 3_000 + PRE_SKIP_GRANULES) == granules
    assert (0, 1, 2, 3, 4, 5) == sequences
    assert (b"OpusHead", b"OpusTags") == (packets[0][:8], packets[1][:8])


@pytest.mark.parametrize("rate_hertz", OPUS_RATES_HERTZ)
@pytest.mark.parametrize("frames", [0, 1, 1.5, 1.875, 2, 30.01])
def test_decoders_give_back_the_exact_length(rate_hertz: int, frames: float) -> None:
    """Both libsndfile and FFmpeg hear as many samples as went in, and the pieces say so too."""
    wave = clip(rate_hertz, int(frames * rate_hertz / 50))
    pieces = coded(wave, rate_hertz, 777)
    data = b"".join(piece.data for piece in pieces)
    with av.open(io.BytesIO(data)) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0))
    samples, _ = soundfile.read(io.BytesIO(data))

    assert len(wave) == sum(piece.sample_count for piece in pieces)
    assert len(wave) * 48_000 // rate_hertz == heard
    assert len(wave) == len(samples)


@pytest.mark.parametrize("rate_hertz", OPUS_RATES_HERTZ)
def test_decoded_audio_is_the_audio(rate_hertz: int) -> None:
    """What is heard is what was said, at the same time."""
    wave = clip(rate_hertz, rate_hertz)
    samples, _ = soundfile.read(io.BytesIO(b"".join(piece.data for piece in coded(wave, rate_hertz, 480))))

    assert np.corrcoef(wave, samples)[0, 1] > 0.97


def test_samples_counted_are_those_that_a_decoder_has_by_then() -> None:
    """A piece counts what its pages let a decoder play, without the codec's delay."""
    counts = [piece.sample_count for piece in coded(clip(48_000, 960 * 3), 48_000, 960)]

    assert [960 - PRE_SKIP_GRANULES, 960, 960, PRE_SKIP_GRANULES] == counts


def test_pages_grow_with_the_audio_alone() -> None:
    """Positions rise by one frame from page to page up to the last."""
    found = pages(b"".join(piece.data for piece in coded(clip(8_000, 8_000), 8_000, 333)))[2:-1]

    assert {960} == {after[1] - before[1] for before, after in pairwise(found)}


def test_repr_shows_frames_and_what_waits() -> None:
    """The state is visible in one line."""
    stream = OggOpus(8_000)
    stream.write(np.zeros(200, np.float32))

    assert "<OggOpus 8000 Hz | 1 frames, 40 samples pending>" == repr(stream)
