"""Encoded audio: an utterance's waveform in the format that the client asked for, piece by piece.

Rules
* The pieces do not depend on how the waveform was cut into writes; containers decode to the same samples.
* Their samples add up to the waveform's length at the format's rate, to the sample, and each piece says its own.
* What waits between writes is at most `withheld_samples`, so that after a pause of that length everything that can be
  heard has left. At the models' own rate, samples without a container leave to the last one.
* A sample beyond full scale is clipped. One that is no number is our fault and is never sent.
"""

import math
import struct
from collections.abc import Callable
from typing import Protocol, assert_never

import numpy as np

from tts_service.errors import Reason, ServiceError, bad_config
from tts_service.speech.flac_stream import FLAC_WITHHOLDS_SECONDS, FlacStream
from tts_service.speech.ogg_opus import OPUS_RATES_HERTZ, OPUS_WITHHOLDS_SECONDS, OggOpus
from tts_service.speech.pcm_samples import alaw_bytes, f32le_bytes, mulaw_bytes, s16le_bytes
from tts_service.speech.resampled_audio import ResampledAudio, resampling_withholds_seconds
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, AudioFormat, EncodedPiece, Encoding, Waveform

SAMPLE_RATE_RANGE_HERTZ = (8_000, 48_000)

_UNKNOWN_LENGTH = 0xFFFFFFFF
_PCM = 1
_S16_BYTES = 2


def check_format(audio_format: AudioFormat, *, streaming: bool) -> None:
    """Raise CallerError BAD_CONFIG if audio cannot be coded so, in a session (`streaming`) or at all."""
    rate_hertz = audio_format.sample_rate_hertz
    low, high = SAMPLE_RATE_RANGE_HERTZ
    if not low <= rate_hertz <= high:
        raise bad_config("audio_format.sample_rate_hertz", f"must be {low} to {high}, was {rate_hertz}")
    if audio_format.encoding is Encoding.OGG_OPUS and rate_hertz not in OPUS_RATES_HERTZ:
        rates = ", ".join(str(rate) for rate in OPUS_RATES_HERTZ)
        raise bad_config("audio_format.sample_rate_hertz", f"must be one of {rates} for Opus, was {rate_hertz}")
    if audio_format.encoding is Encoding.FLAC and streaming:
        raise bad_config("audio_format.encoding", "FLAC is for Synthesize only; its blocks are too long for a session")


def withheld_samples(audio_format: AudioFormat) -> int:
    """Return how many samples, at the models' rate, may wait in an `AudioEncoder` for what follows them."""
    seconds = resampling_withholds_seconds(audio_format.sample_rate_hertz)
    if audio_format.encoding is Encoding.OGG_OPUS:
        seconds += OPUS_WITHHOLDS_SECONDS
    elif audio_format.encoding is Encoding.FLAC:
        seconds += FLAC_WITHHOLDS_SECONDS
    return math.ceil(seconds * MODEL_SAMPLE_RATE_HERTZ)


class AudioEncoder:
    """Turns the waveform of one utterance into coded pieces."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._resampled = ResampledAudio(audio_format.sample_rate_hertz)
        self._coder = _open_coder(audio_format)
        self._samples_in = 0
        self._samples_out = 0

    def __repr__(self) -> str:
        coded = f"{self._format.encoding.value} {self._format.sample_rate_hertz} Hz"
        return f"<AudioEncoder {coded} | {self._samples_in} samples in, {self._samples_out} out>"

    def write(self, waveform: Waveform) -> EncodedPiece:
        """Take any number of samples and return what can leave; the piece may be empty.

        Raises ServiceError ENGINE_FAULT, before anything is taken, if a sample is not a number.
        """
        _check_numbers(waveform)
        self._samples_in += len(waveform)
        return self._count(self._coder.write(self._resampled.write(waveform)))

    def finish(self) -> EncodedPiece:
        """Return the rest, with the end of the container; nothing may be written afterwards."""
        rest = self._coder.write(self._resampled.finish())
        end = self._coder.finish()
        return self._count(EncodedPiece(data=rest.data + end.data, sample_count=rest.sample_count + end.sample_count))

    def _count(self, piece: EncodedPiece) -> EncodedPiece:
        self._samples_out += piece.sample_count
        return piece


class CarriedAudio:
    """Stands in for an encoder where another process codes: a piece is the waveform itself, as bytes."""

    def write(self, waveform: Waveform) -> EncodedPiece:
        """Return all samples. Raises ServiceError ENGINE_FAULT if one is not a number."""
        _check_numbers(waveform)
        return EncodedPiece(data=np.ascontiguousarray(waveform, dtype=np.float32).tobytes(), sample_count=len(waveform))

    def finish(self) -> EncodedPiece:
        """Return nothing, because nothing was kept."""
        return EncodedPiece(data=b"", sample_count=0)

    def __repr__(self) -> str:
        return "<CarriedAudio>"


def carried_waveform(piece: EncodedPiece) -> Waveform:
    """Return what a piece of `CarriedAudio` carries."""
    return np.frombuffer(piece.data, dtype=np.float32)


def _check_numbers(waveform: Waveform) -> None:
    if not np.isfinite(waveform).all():
        raise ServiceError(Reason.ENGINE_FAULT, "the voice made samples that are not numbers")


class _Coder(Protocol):
    """Turns samples at the format's rate into bytes, of which some may wait for the next samples."""

    def write(self, samples: Waveform) -> EncodedPiece: ...

    def finish(self) -> EncodedPiece: ...


class _PlainCoder:
    """Codes each sample for itself, behind a header that leaves with the first of them."""

    def __init__(self, to_bytes: Callable[[Waveform], bytes], header: bytes = b"") -> None:
        self._to_bytes = to_bytes
        self._header = header

    def __repr__(self) -> str:
        return f"<_PlainCoder {self._to_bytes.__name__} | {len(self._header)} bytes of header to come>"

    def write(self, samples: Waveform) -> EncodedPiece:
        if not len(samples):
            return EncodedPiece(data=b"", sample_count=0)
        return EncodedPiece(data=self._take_header() + self._to_bytes(samples), sample_count=len(samples))

    def finish(self) -> EncodedPiece:
        return EncodedPiece(data=self._take_header(), sample_count=0)

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header


def _open_coder(audio_format: AudioFormat) -> _Coder:
    match audio_format.encoding:
        case Encoding.PCM_S16LE:
            return _PlainCoder(s16le_bytes)
        case Encoding.PCM_F32LE:
            return _PlainCoder(f32le_bytes)
        case Encoding.MULAW:
            return _PlainCoder(mulaw_bytes)
        case Encoding.ALAW:
            return _PlainCoder(alaw_bytes)
        case Encoding.WAV:
            return _PlainCoder(s16le_bytes, _streamed_wav_header(audio_format.sample_rate_hertz))
        case Encoding.OGG_OPUS:
            return OggOpus(audio_format.sample_rate_hertz)
        case Encoding.FLAC:
            return FlacStream(audio_format.sample_rate_hertz)
        case _ as unknown:
            assert_never(unknown)


def _streamed_wav_header(sample_rate_hertz: int) -> bytes:
    """Return the header of mono 16-bit WAV of unknown length."""
    byte_rate = sample_rate_hertz * _S16_BYTES
    description = struct.pack("<HHIIHH", _PCM, 1, sample_rate_hertz, byte_rate, _S16_BYTES, 8 * _S16_BYTES)
    return b"".join(
        (
            struct.pack("<4sI4s", b"RIFF", _UNKNOWN_LENGTH, b"WAVE"),
            struct.pack("<4sI", b"fmt ", len(description)),
            description,
            struct.pack("<4sI", b"data", _UNKNOWN_LENGTH),
        )
    )
