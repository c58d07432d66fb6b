"""One utterance of the fake service: text in, messages out, in the order of the wire contract."""

from collections import deque
from collections.abc import Iterator

from greenroom.tts.v1 import tts_pb2
from tests.fakes import sine_voice

Response = tts_pb2.StreamingSynthesizeResponse
SENTENCE_ENDS = ".!?"


class FakeUtterance:
    """Speaks each sentence once it is complete, flushed or ended.

    Invariant: `outgoing` holds whole answers in the order in which they must leave.
    """

    def __init__(self, utterance_id: str, config: tts_pb2.SessionConfig) -> None:
        self.id = utterance_id
        self.config = config
        self.text = b""
        self.spoken_bytes = 0
        self.segments: list[tts_pb2.SegmentDone] = []
        self.flushes: deque[tuple[str, int]] = deque()
        self.speakable_bytes = 0
        self.text_ended = False
        self.finished = False
        self.outgoing: deque[Response] = deque()
        self.sequence = 0
        self.samples_made = 0
        self.samples_sent = 0
        self._held: list[float] = []

    @property
    def rate_hertz(self) -> int:
        """Samples a second."""
        return self.config.audio_format.sample_rate_hertz

    def write(self, text: str) -> None:
        """Take text in; complete sentences become speakable."""
        self.text += text.encode()
        for end in SENTENCE_ENDS:
            self.speakable_bytes = max(self.speakable_bytes, self.text.rfind(end.encode() + b" ") + 1)

    def flush(self, flush_id: str) -> None:
        """Make all text speakable and remember to say so."""
        self.speakable_bytes = len(self.text)
        self.flushes.append((flush_id, len(self.text)))

    def end(self) -> None:
        """Take no more text."""
        self.speakable_bytes = len(self.text)
        self.text_ended = True

    def speak(self) -> None:
        """Make the answers for the next segment, if there is something to say."""
        if not self.sequence and not self.outgoing and (self.speakable_bytes or self.text_ended):
            started = tts_pb2.UtteranceStarted(utterance_id=self.id, effective_config=self.config)
            self.outgoing.append(Response(utterance_started=started))
        if self.spoken_bytes < self.speakable_bytes:
            self._speak_segment(self._segment_end())
        while self.flushes and self.flushes[0][1] <= self.spoken_bytes:
            flush_id, _ = self.flushes.popleft()
            flushed = tts_pb2.Flushed(utterance_id=self.id, flush_id=flush_id, samples_sent=self.samples_made)
            self.outgoing.append(Response(flushed=flushed))
        if self.text_ended and self.spoken_bytes == len(self.text) and not self.finished:
            self._finish()

    def _segment_end(self) -> int:
        for position in range(self.spoken_bytes, self.speakable_bytes):
            if self.text[position : position + 1].decode(errors="ignore") in tuple(SENTENCE_ENDS):
                return position + 1
        return self.speakable_bytes

    def _speak_segment(self, end: int) -> None:
        start, first_sample = self.spoken_bytes, self.samples_made
        if any(character.isalnum() for character in self.text[start:end].decode(errors="ignore")):
            self._hum(sine_voice.samples_for(end - start, self.rate_hertz))
        self.spoken_bytes = end
        segment = tts_pb2.SegmentDone(
            utterance_id=self.id,
            text_start=start,
            text_end=end,
            sample_start=first_sample,
            sample_end=self.samples_made,
        )
        self.segments.append(segment)
        self.outgoing.append(Response(segment_done=segment))

    def _hum(self, count: int) -> None:
        for size in _sizes(count, round(sine_voice.CHUNK_SECONDS * self.rate_hertz)):
            samples = sine_voice.tone(self.samples_made, size, self.rate_hertz)
            self._add_chunk(samples, last=False)

    def _add_chunk(self, samples: list[float], *, last: bool) -> None:
        encoding = self.config.audio_format.encoding
        if sine_voice.is_headerless(encoding):
            data = sine_voice.coded(samples, encoding, self.rate_hertz)
        else:
            self._held += samples
            data = sine_voice.coded(self._held, encoding, self.rate_hertz) if last else b""
        chunk = tts_pb2.AudioChunk(
            utterance_id=self.id,
            sequence=self.sequence,
            sample_offset=self.samples_made,
            sample_count=len(samples),
            data=data,
            last=last,
        )
        self.sequence += 1
        self.samples_made += len(samples)
        self.outgoing.append(Response(audio=chunk))

    def _finish(self) -> None:
        self.finished = True
        empty = not self.samples_made
        silence = [0.0] * round(sine_voice.EMPTY_SECONDS * self.rate_hertz) if empty else []
        self._add_chunk(silence, last=True)
        done = tts_pb2.UtteranceDone(
            utterance_id=self.id,
            finish_reason=tts_pb2.FINISH_REASON_EMPTY if empty else tts_pb2.FINISH_REASON_COMPLETE,
            samples=self.samples_made,
            real_time_factor=0.125,
        )
        done.time_to_first_audio.FromMilliseconds(25)
        done.queue_wait.FromMilliseconds(5)
        self.outgoing.append(Response(utterance_done=done))

    def split_text(self, heard_samples: int | None) -> tuple[str, str]:
        """Return the text heard and the rest, at a segment's precision."""
        heard = self.samples_sent if heard_samples is None else min(heard_samples, self.samples_sent)
        spoken = 0
        for segment in self.segments:
            if not heard or heard * 2 < segment.sample_start + segment.sample_end:
                break
            spoken = segment.text_end
        return self.text[:spoken].decode(), self.text[spoken:].decode()

    def __repr__(self) -> str:
        return f"<FakeUtterance {self.id!r} {self.spoken_bytes} of {len(self.text)} bytes | {len(self.outgoing)} out>"


def _sizes(count: int, size: int) -> Iterator[int]:
    while count > 0:
        yield min(count, size)
        count -= size
