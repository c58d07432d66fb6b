"""The audio of one utterance, from text to coded bytes, in steps that each run under one lease.

text -> `speak` (voice) -> waveform with its pause -> `next_piece` (watermark encoder) -> marked -> coded piece.
The steps are plain functions of a leased module: no waiting, no threads, no knowledge of who asked. Whoever calls
them keeps one utterance's steps in order and one at a time.
"""

from typing import Protocol

import numpy as np

from tts_service.speech import watermark
from tts_service.speech.encoded_audio import AudioEncoder, withheld_samples
from tts_service.speech.session_config import SessionConfig
from tts_service.speech.watermark import WatermarkStream
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, AudioFormat, EncodedPiece, Encoding, Segment, Waveform

EMPTY_SECONDS = 0.2
"""What is sent for text with nothing to say: long enough for a player to notice, short enough not to be a pause."""

SILENCE_PEAK = 10 ** (-50 / 20)
"""Samples below -50 dBFS at a segment's start are silence; speech onsets are above it within a frame."""

KEPT_LEAD_SAMPLES = MODEL_SAMPLE_RATE_HERTZ // 100
"""10 ms of the silence before speech stay, so that a soft onset is not cut."""


class Voice(Protocol):
    """What speaks: `voice` under a lease."""

    def synthesize(self, text: str, *, seed: int, speaking_rate: float) -> Waveform:
        """Return the speech of the text; empty if there is nothing to say."""
        ...


class WatermarkEncoder(Protocol):
    """What marks: `watermark.encoder` under a lease."""

    def mark(self, window: Waveform) -> Waveform:
        """Return the marked window, of the same length."""
        ...


class UtteranceAudio:
    """One utterance's audio on its way. Positions are samples at MODEL_SAMPLE_RATE_HERTZ unless named otherwise."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self.discarded = False
        self._format = audio_format
        self._marks = WatermarkStream()
        self._encoder = AudioEncoder(audio_format)
        self._written = 0

    def speak(self, voice: Voice, config: SessionConfig, segment: Segment, index: int) -> tuple[int, int]:
        """Speak a segment and pause after it; return where its audio begins and ends, at the format's rate."""
        start = self._written
        wave = without_leading_silence(
            voice.synthesize(
                segment.text.strip(), seed=segment_seed(config.seed, index), speaking_rate=config.speaking_rate
            )
        )
        if len(wave):
            self._write(wave)
            self._pause(self._pause_after_speech())
        return self._at_format_rate(start), self._at_format_rate(self._written)

    def next_piece(self, encoder: WatermarkEncoder) -> EncodedPiece | None:
        """Mark and code the next block; None if that needs more audio."""
        block = self._marks.next_block(encoder)
        return None if block is None else self._encoder.write(block)

    def finish(self) -> None:
        """Say that no audio follows; silence stands in if there was none. `next_piece` then drains the rest."""
        if not self._written:
            self._pause(round(EMPTY_SECONDS * MODEL_SAMPLE_RATE_HERTZ))
        self._marks.finish()

    def last_piece(self) -> EncodedPiece:
        """Return the end of the coded stream, after `next_piece` has run dry."""
        return self._encoder.finish()

    def _pause_after_speech(self) -> int:
        """Return the pause that pushes all speech out of the watermark and the encoder, without a further word."""
        withheld = withheld_samples(self._format) if self._format.encoding is not Encoding.FLAC else 0
        return watermark.pause_samples(self._written + withheld) + withheld

    def _write(self, wave: Waveform) -> None:
        self._marks.write(wave)
        self._written += len(wave)

    def _pause(self, count: int) -> None:
        self._write(watermark.pause(count, start=self._written))

    def _at_format_rate(self, position: int) -> int:
        return round(position * self._format.sample_rate_hertz / MODEL_SAMPLE_RATE_HERTZ)

    def __repr__(self) -> str:
        return f"<UtteranceAudio {self._written / MODEL_SAMPLE_RATE_HERTZ:.2f} s written | {self._marks!r}>"


def segment_seed(seed: int, index: int) -> int:
    """Return the seed of an utterance's segment: counter-based, so that segments do not depend on each other."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def without_leading_silence(wave: Waveform) -> Waveform:
    """Return the waveform from just before its first audible sample on."""
    audible = np.flatnonzero(np.abs(wave) > SILENCE_PEAK)
    if not len(audible):
        return wave[:0]
    return wave[max(0, int(audible[0]) - KEPT_LEAD_SAMPLES) :]
