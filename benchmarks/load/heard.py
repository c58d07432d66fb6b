"""One utterance as its listener meets it: what was written, what came, what was late, and what must never be. Pure."""

from dataclasses import dataclass
from enum import Enum, auto

from benchmarks.load.allowance import Allowance
from benchmarks.load.player import Gap, Player
from benchmarks.load.text_log import TextLog


class Ending(Enum):
    """How far the service is with an utterance."""

    OPEN = auto()
    DONE = auto()
    CANCELLED = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What the wire says of a piece of audio."""

    sequence: int
    sample_offset: int
    sample_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Underrun:
    """A gap; it is the service's if the words after it were there before it began."""

    gap: Gap
    is_service: bool


class Heard:
    """An utterance of one session; times are the caller's."""

    def __init__(self, utterance_id: str, *, rate_hertz: int, ahead_seconds: float, delay_seconds: float = 0.0) -> None:
        self.id = utterance_id
        self.rate_hertz = rate_hertz
        self.text = TextLog()
        self.player = Player(delay_seconds=delay_seconds)
        self.allowance = Allowance(ahead_seconds=ahead_seconds)
        self.ending = Ending.OPEN
        self.samples = 0
        self.first_audio_at: float | None = None
        self.last_audio_at: float | None = None
        self.interrupted_at: float | None = None
        self.waited_seconds = 0.0
        """For first audio that never came, until the listener went."""
        self.faults: list[str] = []
        self._sequence = 0
        self._spoken_bytes = 0
        self._is_full = False
        self._gaps: list[Gap] = []
        self._spans: list[tuple[int, int]] = []

    def __repr__(self) -> str:
        return f"<Heard {self.id} {self.ending.name} {self.samples} samples | {self.player!r}>"

    @property
    def first_audio_seconds(self) -> float | None:
        """From the moment at which the first segment had its text to the first audio; None if either never came."""
        needed_at = self.text.first_segment_at
        if self.first_audio_at is None or needed_at is None:
            return None
        return max(0.0, self.first_audio_at - needed_at)

    @property
    def first_audio_since_text_seconds(self) -> float | None:
        """The same from the first piece of text."""
        if self.first_audio_at is None or self.text.first_at is None:
            return None
        return self.first_audio_at - self.text.first_at

    def played_samples(self, now: float) -> int:
        """Return how much of it has been heard."""
        return min(self.samples, round(self.player.position_seconds(now) * self.rate_hertz))

    def chunk(self, chunk: Chunk, now: float) -> float | None:
        """Take audio in; return what its delivery cost, in seconds, if pacing had held it back until it was due."""
        self._check(chunk)
        self._sequence = chunk.sequence + 1
        self.samples = chunk.sample_offset + chunk.sample_count
        cost_seconds = self._cost_seconds(now) if chunk.sample_count else None
        if self.first_audio_at is None and chunk.sample_count:
            self.first_audio_at = now
        self.last_audio_at = now
        gap = self.player.receive(chunk.sample_count / self.rate_hertz, now)
        if gap is not None:
            self._gaps.append(gap)
        return cost_seconds

    def segment(self, *, text_start: int, text_end: int, sample_end: int) -> None:
        """Note which text a piece of audio said."""
        if text_start != self._spoken_bytes:
            self.faults.append(f"text {self._spoken_bytes} to {text_start} was left out")
        self._spoken_bytes = text_end
        self._spans.append((sample_end, text_end))

    def done(self, samples: int) -> None:
        """Note that all was said."""
        self.ending = Ending.DONE
        if samples != self.samples:
            self.faults.append(f"{samples} samples were sent, and {self.samples} came")
        if self._spoken_bytes != self.text.length_bytes:
            self.faults.append(f"of {self.text.length_bytes} bytes of text {self._spoken_bytes} were spoken")

    def cancelled(self) -> None:
        """Note that the service acknowledged an interruption."""
        self.ending = Ending.CANCELLED

    def failed(self) -> None:
        """Note that the service gave it up."""
        self.ending = Ending.FAILED

    def cut_off(self, now: float) -> None:
        """Note that the listener goes; a gap or a wait that lasts until now is one, too."""
        needed_at = self.text.first_segment_at
        if self.ending is Ending.OPEN and self.first_audio_at is None and needed_at is not None:
            self.waited_seconds = now - needed_at
        if self.ending is Ending.OPEN and self.samples and now > self.player.ends_at:
            dry_at = self.player.ends_at
            self._gaps.append(Gap(dry_at=dry_at, seconds=now - dry_at, offset_seconds=self.player.received_seconds))

    def underruns(self) -> list[Underrun]:
        """Return the gaps, each with whose it was. What follows a gap is known once its segment is done."""
        return [Underrun(gap=gap, is_service=self._is_service(gap)) for gap in self._gaps]

    def _check(self, chunk: Chunk) -> None:
        if self.ending is not Ending.OPEN:
            self.faults.append(f"audio after {self.ending.name}")
        if chunk.sequence != self._sequence:
            self.faults.append(f"chunk {chunk.sequence} came where {self._sequence} was next")
        if chunk.sample_offset != self.samples:
            self.faults.append(f"audio at sample {chunk.sample_offset} came where {self.samples} was next")

    def _cost_seconds(self, now: float) -> float | None:
        """Return what a chunk cost that was to leave when a report made room for it.

        Until the lead has been full once, audio comes as fast as it is made; and what waits for text is not late.
        """
        due_at = self.allowance.due_at(self.samples / self.rate_hertz)
        if due_at is None or self.last_audio_at is None or self.text.ended_at is None or self.text.ended_at > due_at:
            return None
        self._is_full = self._is_full or self.last_audio_at <= due_at
        return now - due_at if self._is_full else None

    def _is_service(self, gap: Gap) -> bool:
        offset = gap.offset_seconds * self.rate_hertz
        text_end = next((text for samples, text in self._spans if samples > offset), self._spoken_bytes + 1)
        certain_at = self.text.certain_at(text_end)
        return certain_at is not None and certain_at <= gap.dry_at
