"""Simulated sessions: what they are told to say, and what their listeners hear of it."""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from tts_service.scheduling.chunk_plans import STANDARD, TOKENS_PER_SECOND, WITHHELD_SECONDS, ChunkPlan
from tts_service.scheduling.deadlines import Hearing
from tts_service.scheduling.work import Priority
from tts_service.speech import playback
from tts_service.speech.mel_chunks import chunk_tokens, tail_tokens
from tts_service.speech.playback import PlaybackClock

WORDS_PER_SECOND = 15.0
"""Of a language model; speech has about three."""
SPOKEN_WORDS_PER_SECOND = 3.0
PAUSE_SECONDS = 0.2
INTERRUPTED_SHARE = 0.15
CHUNKS_WAITING = 2
AHEAD_SECONDS = 5.0
"""What is sent ahead of playback, and what is made beyond that."""


class Manner(Enum):
    """How a session uses speech."""

    TALK = "talk"
    """One text without end: whoever listens hears speech all the time."""
    TURNS = "turns"
    """Turns of a conversation: text comes word by word, some are interrupted, between two somebody else speaks."""
    SENTENCES = "sentences"
    """One text of a few sentences after the other, as `benchmarks.load` has them: every few seconds a first sound."""
    FILE = "file"
    """A text of five minutes that nobody listens to yet."""


WRITTEN = (Manner.TURNS, Manner.SENTENCES)
"""Whose text comes word by word."""


@dataclass(eq=False, slots=True, kw_only=True)
class Segment:
    """A sentence on its way."""

    key: int
    ready_at: float
    tokens: int
    ordered_at: float = 0.0
    begun: bool = False
    made: int = 0
    fresh: int = 0
    sounded: int = 0
    waiting_since: float = 0.0
    chunks: deque[int] = field(default_factory=deque)

    @property
    def spoken(self) -> bool:
        """Whether no token follows."""
        return self.made >= self.tokens

    @property
    def done(self) -> bool:
        """Whether no sound follows."""
        return self.spoken and not self.chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A session that will come. It stays for so long."""

    at: float
    manner: Manner
    stay_seconds: float
    seed: int
    client: str = "one"

    @property
    def priority(self) -> Priority:
        """Whether somebody listens."""
        return Priority.BULK if self.manner is Manner.FILE else Priority.INTERACTIVE


@dataclass(slots=True, kw_only=True)
class Heard:
    """What a session's listener heard."""

    first_audio_seconds: list[float] = field(default_factory=list)
    underruns: int = 0
    stalled_seconds: float = 0.0
    audio_seconds: float = 0.0


class SimulatedSession:
    """One session. `script` are its sentences in order: (when its text is there after the turn began, tokens)."""

    def __init__(self, key: int, arrival: Arrival, keys: Iterator[int]) -> None:
        self.key = key
        self.arrival = arrival
        self.heard = Heard()
        self.plan: ChunkPlan = STANDARD
        self.clock = PlaybackClock()
        self.coming: deque[Segment] = deque()
        self.making: list[Segment] = []
        self.chunks_cut = 0
        self.sent_of_turn = False
        self.turn_from = 0.0
        self._keys = keys
        self._random = random.Random(arrival.seed)  # noqa: S311  # No cryptography here.

    def begin_turn(self, now: float) -> None:
        """Have the text of the next turn come, from now on."""
        self.turn_from, self.sent_of_turn, self.chunks_cut = now, False, 0
        words = 0.0
        for tokens in self._sentences():
            words += tokens / TOKENS_PER_SECOND * SPOKEN_WORDS_PER_SECOND
            ready_at = now + words / WORDS_PER_SECOND if self.arrival.manner in WRITTEN else now
            self.coming.append(Segment(key=next(self._keys), ready_at=ready_at, tokens=tokens))

    def _sentences(self) -> list[int]:
        match self.arrival.manner:
            case Manner.TALK:
                count = 200
            case Manner.TURNS:
                count = self._random.randint(1, 4)
            case Manner.SENTENCES:
                count = max(1, round(self._random.lognormvariate(0.4, 0.6)))
            case Manner.FILE:
                count = 60
        return [self._sentence() for _ in range(count)]

    def _sentence(self) -> int:
        if self.arrival.manner is Manner.SENTENCES:
            return int(min(max(self._random.lognormvariate(4.6, 0.35), 20), 165))
        return int(min(max(self._random.lognormvariate(4.7, 0.5), 20), 450))

    def pause_seconds(self) -> float:
        """Return how long the other side speaks before the next turn."""
        if self.arrival.manner is Manner.SENTENCES:
            return 0.0
        return 1.0 + self._random.expovariate(1 / 4.0)

    def interrupted_after(self) -> float | None:
        """Return after how much of a turn its listener speaks up, if so."""
        if self.arrival.manner is Manner.TURNS and self._random.random() < INTERRUPTED_SHARE:
            return self._random.uniform(0.5, 8.0)
        return None

    def order(self, now: float) -> None:
        """Take what may be made next: a sentence, and one more when the first one's tokens are all there."""
        while self.coming and self.coming[0].ready_at <= now and self._welcomes(now):
            segment = self.coming.popleft()
            segment.ordered_at = segment.waiting_since = now
            self.making.append(segment)

    def _welcomes(self, now: float) -> bool:
        if self.arrival.manner is not Manner.FILE and self.lead_seconds(now) >= AHEAD_SECONDS:
            return False
        return not self.making or (len(self.making) == 1 and self.making[0].spoken and len(self.making[0].chunks) <= 1)

    def lead_seconds(self, now: float) -> float:
        """Return how much is left to hear."""
        self.clock = playback.advanced(self.clock, now)
        return playback.ahead_seconds(self.clock)

    def hearing(self, segment: Segment, now: float) -> Hearing:
        """Return what the scheduler is told."""
        self.clock = playback.advanced(self.clock, now)
        return Hearing(clock=self.clock, unsent_seconds=0.0, ordered_at=segment.ordered_at)

    def wanted(self, chunk: int) -> int:
        """Return for how many tokens a chunk of this utterance waits."""
        return chunk_tokens(self.plan.schedule, chunk) + tail_tokens(self.plan.schedule, chunk)

    def cut(self, segment: Segment, now: float) -> None:
        """Hand over what is a chunk."""
        while segment.fresh >= (wanted := self.wanted(self.chunks_cut)) or (segment.spoken and segment.fresh):
            is_last = segment.spoken and segment.fresh <= wanted
            taken = segment.fresh if is_last else chunk_tokens(self.plan.schedule, self.chunks_cut)
            segment.fresh -= taken
            segment.chunks.append(taken)
            segment.waiting_since = now
            self.chunks_cut += 1

    def audible(self, segment: Segment) -> float:
        """Return how much more can be heard with the segment's next chunk."""
        tokens = segment.chunks[0]
        final = segment.spoken and len(segment.chunks) == 1 and not segment.fresh
        before = max(0.0, segment.sounded / TOKENS_PER_SECOND - WITHHELD_SECONDS) if segment.sounded else 0.0
        after = (segment.sounded + tokens) / TOKENS_PER_SECOND + (PAUSE_SECONDS if final else -WITHHELD_SECONDS)
        return max(0.0, after - before)

    def opens(self, segment: Segment, now: float) -> bool:
        """Tell whether the segment's next sound comes after nothing, or a silence from before it was ordered."""
        if segment is not self.making[0] or segment.sounded:
            return False
        self.clock = playback.advanced(self.clock, now)
        dry_since = self.clock.dry_since
        return not self.sent_of_turn or (dry_since is not None and dry_since <= segment.ordered_at)

    def audible_before(self, segment: Segment) -> float:
        """Return how much can be heard before the chunk for which the segment's next tokens are."""
        seconds = 0.0
        for each in self.making[: self.making.index(segment) + 1]:
            tokens = sum(each.chunks)
            is_withheld = tokens and not each.sounded and not each.spoken
            seconds += tokens / TOKENS_PER_SECOND - (WITHHELD_SECONDS if is_withheld else 0.0)
        return max(0.0, seconds)

    def hear(self, segment: Segment, now: float) -> None:
        """Take the sound of the segment's next chunk."""
        seconds = self.audible(segment)
        self.clock = playback.advanced(self.clock, now)
        dry_since = self.clock.dry_since
        if seconds and not self.sent_of_turn:
            self.heard.first_audio_seconds.append(now - max(segment.ready_at, self.turn_from))
        elif seconds and dry_since is not None and segment.ready_at < dry_since:
            self.heard.underruns += 1
            self.heard.stalled_seconds += now - dry_since
        self.sent_of_turn = self.sent_of_turn or seconds > 0
        self.heard.audio_seconds += seconds
        segment.sounded += segment.chunks.popleft()
        self.clock = playback.sent(self.clock, seconds, now)
        if segment.done:
            self.making.remove(segment)

    def drop(self, now: float) -> None:
        """Forget all that was not heard."""
        self.making.clear()
        self.coming.clear()
        self.clock = playback.discarded(self.clock, now)

    def __repr__(self) -> str:
        made, coming = len(self.making), len(self.coming)
        return f"<SimulatedSession {self.key} {self.arrival.manner.value} | {made} made, {coming} to come>"
