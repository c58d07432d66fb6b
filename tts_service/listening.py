"""What is known of a listener while an utterance is made for it: deadlines are made of this.

An order says how far its session's listener had heard; what is made after that is counted here, in the thread that
makes it, as if it left at once. So the facts are as new as the last piece, and a client's word is as new as the last
order: until the next one, its player is taken to go on.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from tts_service.busy_time import BusyTime
from tts_service.scheduling.deadlines import Hearing, Promise, dry_at, sound_due_at
from tts_service.scheduling.work import Priority
from tts_service.speech import playback
from tts_service.speech.playback import PlaybackClock
from tts_service.speech.rendering import Heard
from tts_service.speech.session_config import Pacing, SessionConfig

NOTICED_SECONDS = 0.25
"""A listener that is further than was thought by less than this is as far as was thought."""
RENDERED_AHEAD_SECONDS = 1.0
"""What is made beyond what may leave (`SessionLimits.render_ahead_seconds`)."""


class Listening:
    """One utterance's listener. For any thread."""

    def __init__(self, config: SessionConfig, *, now: float) -> None:
        self.priority = config.priority
        self.is_paced = config.pacing is not Pacing.NONE
        self.ahead_seconds = config.max_audio_ahead + RENDERED_AHEAD_SECONDS
        self.on_away: Callable[[], object] = lambda: None
        """Hears that what its tokens are made from waits on the host; `on_back`, that it does no more."""
        self.on_back: Callable[[], object] = lambda: None
        self.pieces = 0
        """How many pieces of sound were made."""
        self.version = 0
        """Counts what was heard of: until it is another, the listener is as far as was thought."""
        self._clock = PlaybackClock(as_of=now)
        self._made_seconds = 0.0
        self._lock = threading.Lock()

    def ordered(self, heard: Heard) -> bool:
        """Take an order's word for what the session knew: not yet what was made and is on its way.

        Tells whether there is less to hear than was thought.
        """
        with self._lock:
            thought_seconds = playback.ahead_seconds(playback.advanced(self._clock, heard.ordered_at))
            # An order's samples may be coded at another rate, which rounds and withholds: never less than none.
            on_its_way_seconds = max(0.0, self._made_seconds - heard.received_seconds)
            unheard_seconds = heard.unsent_seconds + on_its_way_seconds
            self._clock = playback.sent(heard.clock, unheard_seconds, heard.ordered_at)
            self.version += 1
            return playback.ahead_seconds(self._clock) < thought_seconds - NOTICED_SECONDS

    def made(self, seconds: float, now: float) -> None:
        """Count a piece of sound that leaves for the session."""
        with self._lock:
            self.pieces += 1
            self._made_seconds += seconds
            self._clock = playback.sent(self._clock, seconds, now)
            self.version += 1

    def hearing(self, ordered_at: float, now: float) -> Hearing:
        """Return how far it has heard."""
        with self._lock:
            self._clock = playback.advanced(self._clock, now)
            return Hearing(clock=self._clock, unsent_seconds=0.0, ordered_at=ordered_at)

    def still_seconds(self, now: float) -> float:
        """Return for how long it has stood still, by the client's word."""
        with self._lock:
            return playback.still_seconds(self._clock, now)

    def __repr__(self) -> str:
        return f"<Listening {self.priority.value} | {playback.ahead_seconds(self._clock):.2f} s left to hear>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """When a next sound must be there, and until when that holds if nothing is heard of the listener."""

    at: float
    until: float
    version: int
    promise: Promise


@dataclass(eq=False, kw_only=True)
class Place:
    """An order among others': who listens, since when it waits, and who counts its time. For both lanes' threads."""

    listening: Listening
    ordered_at: float
    busy: BusyTime
    _waits_for_nothing: bool = field(init=False)
    _pieces_before: int = field(init=False)
    _due: _Due | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._pieces_before = self.listening.pieces
        hearing = self.listening.hearing(self.ordered_at, self.ordered_at)
        self._waits_for_nothing = dry_at(hearing) <= self.ordered_at

    @property
    def priority(self) -> Priority:
        """Whether somebody listens: to what is not paced, only until the utterance's first sound.

        That may be made slower than it is heard: else each of its segments would be somebody's first sound again.
        """
        is_heard = self.listening.is_paced or (self.opens and not self.listening.pieces)
        return self.listening.priority if is_heard else Priority.BULK

    @property
    def opens(self) -> bool:
        """Whether its next sound is the first that can be heard, after nothing or a silence."""
        return self._waits_for_nothing and self.listening.pieces == self._pieces_before

    def due_at(self, promise: Promise, now: float) -> float:
        """Return by when its next sound must be there; bulk has no such time.

        It is asked for in every turn of both lanes. As long as there is something left to hear, only what is heard of
        the listener changes the answer.
        """
        if self.priority is Priority.BULK:
            return math.inf
        version, known = self.listening.version, self._due
        if known is not None and now < known.until and known.version == version and known.promise is promise:
            return known.at
        hearing = self.listening.hearing(self.ordered_at, now)
        at, until = sound_due_at(hearing, promise), dry_at(hearing)
        if now < until:
            self._due = _Due(at=at, until=until, version=version, promise=promise)
        return at
