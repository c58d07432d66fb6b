"""The audio of one utterance, from text to coded bytes, in steps that each run under one lease.

text -> a segment's stages (the model's modules) -> waveform with its pause -> marking (watermark encoder) -> marked ->
coded piece. The steps are plain functions of leased modules: no waiting, no threads, no knowledge of who asked. Whoever
calls them keeps the steps of one lane in order and one at a time; segments sound one after the other.
"""

from collections.abc import Callable, Sequence
from typing import cast

from tts_service.errors import GreenroomError
from tts_service.speech import watermark
from tts_service.speech.company import Company, CompanyMarks
from tts_service.speech.encoded_audio import AudioEncoder, CarriedAudio, withheld_samples
from tts_service.speech.leading_silence import LeadingSilence
from tts_service.speech.speech_model import (
    Lane,
    MarkStream,
    Modules,
    SegmentSpeech,
    Sound,
    Stage,
    UtteranceSpeech,
    all_ended,
)
from tts_service.speech.token_guards import usual_tokens
from tts_service.speech.watermark import Encoder, WatermarkStream
from tts_service.types import (
    MODEL_SAMPLE_RATE_HERTZ,
    WATERMARK_ENCODER,
    AudioFormat,
    EncodedPiece,
    Encoding,
    ModuleName,
    Segment,
    Waveform,
)

SAMPLES_PER_TOKEN = MODEL_SAMPLE_RATE_HERTZ // 25

EMPTY_SECONDS = 0.2
"""What is sent for text with nothing to say: long enough for a player to notice, short enough not to be a pause."""

Heard = Callable[[EncodedPiece], None]
"""Takes a coded piece, in the thread that made it."""


class UtteranceAudio:
    """One utterance's audio on its way. Positions are samples at MODEL_SAMPLE_RATE_HERTZ unless named otherwise.

    Where it is `carried`, somebody else codes it: pieces are the marked waveform, all else is as the format wants it.
    """

    def __init__(
        self, audio_format: AudioFormat, begin: Callable[[], UtteranceSpeech], *, carried: bool = False
    ) -> None:
        self.discarded = False
        self._format = audio_format
        self._begin = begin
        self._speech: UtteranceSpeech | None = None
        self._under_way: list[SegmentAudio] = []
        self._marks: MarkStream | None = None
        self._encoder = CarriedAudio() if carried else AudioEncoder(audio_format)
        self.piece_rate_hertz = MODEL_SAMPLE_RATE_HERTZ if carried else audio_format.sample_rate_hertz
        """What pieces' samples are counted at."""
        self._written = 0

    def discard(self) -> None:
        """Stop: no step begins any more, and one under way ends as soon as it can."""
        # In this order: a lane that takes a step in between must find who refuses its part of it cancelled.
        for segment in self._under_way:
            segment.speech.cancel()
        self.discarded = True

    def begin_segment(self, segment: Segment, index: int, *, in_turns: bool = False) -> "SegmentAudio":
        """Begin to speak a segment, perhaps while the one before it still sounds. Raises what the model raises."""
        if self._speech is None:
            self._speech = self._begin()
            self._marks = self._speech.marks()
        begun = SegmentAudio(segment, self._speech.segment(segment, index, in_turns=in_turns))
        self._under_way.append(begun)
        return begun

    def end_segment(self, segment: "SegmentAudio") -> None:
        """Let go of a segment that has been made."""
        self._under_way.remove(segment)

    def begin_sound(self, segment: "SegmentAudio") -> None:
        """Let a segment sound, after the ones before it have ended."""
        segment.start = self._written

    def advance(self, segment: "SegmentAudio", stage: Stage, leased: Modules) -> None:
        """Take the next step of a segment's stage; when speech has ended, pause after it. Nothing, if discarded."""
        if self.discarded:
            return
        sound = stage.step(leased)
        if sound is None:
            return
        heard = segment.lead.trimmed(sound)
        if len(heard):
            self._write(heard)
        if segment.ended and self._written > segment.start:
            self._pause(self._pause_after_speech())

    def sounds(self, segment: "SegmentAudio") -> bool:
        """Tell whether a segment has any audio yet."""
        return self._written > segment.start

    def span(self, segment: "SegmentAudio") -> tuple[int, int]:
        """Return where a segment's audio begins and ends, at the format's rate; while it is spoken, an estimate."""
        end = self._written
        if not segment.ended:
            end = max(end, segment.start + segment.estimated_samples)
        return self._at_format_rate(segment.start), self._at_format_rate(end)

    @property
    def mark_modules(self) -> frozenset[ModuleName]:
        """What `next_piece` needs."""
        return frozenset({WATERMARK_ENCODER}) if self._marks is None else self._marks.modules

    @property
    def has_piece(self) -> bool:
        """Whether `next_piece` has one to give, so that the encoder is leased for nothing else."""
        return not self.discarded and self._marks is not None and self._marks.ready

    def next_piece(self, encoder: Encoder) -> EncodedPiece | None:
        """Mark and code the next block; None if that needs more audio, or if nobody wants it any more."""
        if self.discarded or self._marks is None:
            return None
        block = self._marks.next_blocks(encoder)
        return None if block is None else self._encoder.write(block)

    @property
    def shared_marks(self) -> CompanyMarks | None:
        """The utterance's marks, if they may be made together with others'."""
        marks = self._marks
        # By attribute: `isinstance` asks for all that a protocol has, in 10 us.
        return cast("CompanyMarks", marks) if getattr(marks, "company", None) is not None else None

    def coded(self, block: Waveform) -> EncodedPiece | None:
        """Code a block that was marked together with others'; None if nobody wants it any more."""
        return None if self.discarded else self._encoder.write(block)

    def finish(self) -> None:
        """Say that no audio follows; silence stands in if there was none. `next_piece` then drains the rest."""
        marks = self._marks = self._marks or WatermarkStream()
        if not self._written:
            self._pause(round(EMPTY_SECONDS * MODEL_SAMPLE_RATE_HERTZ))
        marks.finish()

    def last_piece(self) -> EncodedPiece:
        """Return the end of the coded stream, after `next_piece` has run dry."""
        return self._encoder.finish()

    def _pause_after_speech(self) -> int:
        """Return the pause that pushes all speech out of the watermark and the encoder, without a further word."""
        withheld = withheld_samples(self._format) if self._format.encoding is not Encoding.FLAC else 0
        return watermark.pause_samples(self._written + withheld) + withheld

    def _write(self, wave: Sound) -> None:
        assert self._marks is not None
        self._marks.write(wave)
        self._written += len(wave)

    def _pause(self, count: int) -> None:
        assert self._marks is not None
        self._marks.pause(count)
        self._written += count

    def _at_format_rate(self, position: int) -> int:
        return round(position * self._format.sample_rate_hertz / MODEL_SAMPLE_RATE_HERTZ)

    def __repr__(self) -> str:
        return f"<UtteranceAudio {self._written / MODEL_SAMPLE_RATE_HERTZ:.2f} s written | {self._marks!r}>"


def estimated_samples(text: str) -> int:
    """Return about how long a text takes to say; it tells what was heard of a segment whose end is not known yet."""
    return round(usual_tokens(text) * SAMPLES_PER_TOKEN)


class SegmentAudio:
    """A segment that is being spoken: its speech, where its audio begins, and the silence that leads to it."""

    def __init__(self, segment: Segment, speech: SegmentSpeech) -> None:
        self.segment = segment
        self.speech = speech
        self.start = 0
        self.estimated_samples = estimated_samples(segment.text)
        """How long it is while nobody knows better."""
        self.lead = LeadingSilence()

    @property
    def ended(self) -> bool:
        """Whether all of it has been spoken."""
        return all_ended(self.speech.stages)

    def __repr__(self) -> str:
        return f"<SegmentAudio from {self.start} | {self.speech!r}>"


class MarkingStage:
    """The last stage of whatever an utterance has said so far, after the `before`: its marked and coded pieces.

    It brings no sound any more: `heard` takes the pieces.
    """

    lane = Lane.SOUND

    def __init__(self, audio: UtteranceAudio, heard: Heard, before: Sequence[Stage] = ()) -> None:
        self.audio = audio
        self._heard = heard
        self._before = before

    @property
    def modules(self) -> frozenset[ModuleName]:
        """What marking needs."""
        return self.audio.mark_modules

    @property
    def has_step(self) -> bool:
        """Whether there is a piece to make."""
        return self.audio.has_piece

    @property
    def ended(self) -> bool:
        """Whether there is none and none can come."""
        return all_ended(self._before) and not self.audio.has_piece

    def step(self, leased: Modules) -> None:
        """Make the next piece."""
        self._tell(self.audio.next_piece(leased[WATERMARK_ENCODER]))

    @property
    def company(self) -> Company | None:
        """With whom its marks may be made."""
        marks = self.audio.shared_marks
        return None if marks is None else marks.company

    def compute(self, stages: Sequence["MarkingStage"], leased: Modules) -> Sequence[Waveform | GreenroomError | None]:
        """Mark the next blocks of each of these."""
        assert self.company is not None
        return self.company.next_of_all(leased[WATERMARK_ENCODER], [each.audio.shared_marks for each in stages])

    def take(self, made: Waveform | GreenroomError | None) -> None:
        """Take blocks that were marked."""
        if isinstance(made, GreenroomError):
            raise made
        if made is not None:
            self._tell(self.audio.coded(made))

    def _tell(self, piece: EncodedPiece | None) -> None:
        if piece is not None:
            self._heard(piece)

    def __repr__(self) -> str:
        return f"<MarkingStage of {self.audio!r}>"
