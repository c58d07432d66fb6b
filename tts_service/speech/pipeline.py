"""The audio of one utterance, from text to coded bytes, in steps that each run under one lease.

text -> `advance` (the model's modules) -> waveform with its pause -> `next_piece` (watermark encoder) -> marked ->
coded piece. The steps are plain functions of leased modules: no waiting, no threads, no knowledge of who asked. Whoever
calls them keeps one utterance's steps in order and one at a time.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from tts_service.speech import watermark
from tts_service.speech.encoded_audio import AudioEncoder, withheld_samples
from tts_service.speech.speech_model import Modules, SegmentSpeech, UtteranceSpeech
from tts_service.speech.token_guards import usual_tokens
from tts_service.speech.watermark import WatermarkStream
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, AudioFormat, EncodedPiece, Encoding, Segment, Waveform

SAMPLES_PER_TOKEN = MODEL_SAMPLE_RATE_HERTZ // 25

EMPTY_SECONDS = 0.2
"""What is sent for text with nothing to say: long enough for a player to notice, short enough not to be a pause."""

SILENCE_PEAK = 10 ** (-50 / 20)
"""Samples below -50 dBFS at a segment's start are silence; speech onsets are above it within a frame."""

KEPT_LEAD_SAMPLES = MODEL_SAMPLE_RATE_HERTZ // 100
"""10 ms of the silence before speech stay, so that a soft onset is not cut."""


class WatermarkEncoder(Protocol):
    """What marks: `watermark.encoder` under a lease."""

    def mark(self, window: Waveform) -> Waveform:
        """Return the marked window, of the same length."""
        ...


class UtteranceAudio:
    """One utterance's audio on its way. Positions are samples at MODEL_SAMPLE_RATE_HERTZ unless named otherwise."""

    def __init__(self, audio_format: AudioFormat, begin: Callable[[], UtteranceSpeech]) -> None:
        self.discarded = False
        self._format = audio_format
        self._begin = begin
        self._speech: UtteranceSpeech | None = None
        self._current: SegmentAudio | None = None
        self._marks = WatermarkStream()
        self._encoder = AudioEncoder(audio_format)
        self._written = 0

    def discard(self) -> None:
        """Stop: no step begins any more, and one under way ends as soon as it can."""
        self.discarded = True
        if self._current is not None:
            self._current.speech.cancel()

    def begin_segment(self, segment: Segment, index: int) -> "SegmentAudio":
        """Begin to speak a segment, after the ones before it have ended. Raises what the model raises."""
        if self._speech is None:
            self._speech = self._begin()
        self._current = SegmentAudio(segment, self._speech.segment(segment, index), start=self._written)
        return self._current

    def advance(self, segment: "SegmentAudio", leased: Modules) -> None:
        """Take the next step of a segment; when it was the last, pause after it. Nothing, if it was discarded."""
        if self.discarded:
            return
        wave = segment.lead.trimmed(segment.speech.step(leased))
        if len(wave):
            self._write(wave)
        if not segment.speech.next_modules and self._written > segment.start:
            self._pause(self._pause_after_speech())

    def sounds(self, segment: "SegmentAudio") -> bool:
        """Tell whether a segment has any audio yet."""
        return self._written > segment.start

    def span(self, segment: "SegmentAudio") -> tuple[int, int]:
        """Return where a segment's audio begins and ends, at the format's rate; while it is spoken, an estimate."""
        end = self._written
        if segment.speech.next_modules:
            end = max(end, segment.start + estimated_samples(segment.segment.text))
        return self._at_format_rate(segment.start), self._at_format_rate(end)

    @property
    def has_piece(self) -> bool:
        """Whether `next_piece` has one to give, so that the encoder is leased for nothing else."""
        return not self.discarded and self._marks.ready

    def next_piece(self, encoder: WatermarkEncoder) -> EncodedPiece | None:
        """Mark and code the next block; None if that needs more audio, or if nobody wants it any more."""
        if self.discarded:
            return None
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


def estimated_samples(text: str) -> int:
    """Return about how long a text takes to say; it tells what was heard of a segment whose end is not known yet."""
    return round(usual_tokens(text) * SAMPLES_PER_TOKEN)


class SegmentAudio:
    """A segment that is being spoken: its speech, where its audio begins, and the silence that leads to it."""

    def __init__(self, segment: Segment, speech: SegmentSpeech, *, start: int) -> None:
        self.segment = segment
        self.speech = speech
        self.start = start
        self.lead = LeadingSilence()

    def __repr__(self) -> str:
        return f"<SegmentAudio from {self.start} | {self.speech!r}>"


class LeadingSilence:
    """Takes away the silence before a segment's first audible sample, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._kept: Waveform | None = np.zeros(0, np.float32)

    def trimmed(self, wave: Waveform) -> Waveform:
        """Return what is to be heard of the next piece: nothing of silence, but for its end once speech follows."""
        if self._kept is None:
            return wave
        wave = np.concatenate([self._kept, wave])
        audible = np.flatnonzero(np.abs(wave) > SILENCE_PEAK)
        if len(audible):
            self._kept = None
            return wave[max(0, int(audible[0]) - KEPT_LEAD_SAMPLES) :]
        self._kept = wave[-KEPT_LEAD_SAMPLES:]
        return wave[:0]

    def __repr__(self) -> str:
        return f"<LeadingSilence {'over' if self._kept is None else 'lasts'}>"
