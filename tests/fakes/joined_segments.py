"""Segments whose tokens come in bursts and are numbers: for the loops, without networks.

`Crowd` keeps who was in which burst, and checks that a burst is of those who may have one, one at a time.
"""

import threading
from collections.abc import Callable, Sequence

from tts_service.errors import Reason, ServiceError
from tts_service.speech.resting import Leave
from tts_service.speech.speech_model import Lane, Modules, Stage, TokenNeed, TokensMade
from tts_service.types import ModuleName

TOKENS = ModuleName("tokens")
CHUNK_TOKENS = 10


class Crowd:
    """What all segments share: places, and what was done for whom."""

    def __init__(self, *, places: int = 64, most: int = 32) -> None:
        self.places = places
        self.most = most
        self.bursts: list[list[str]] = []
        self.prompts: list[str] = []
        self.violations: list[str] = []
        self.on_burst: Callable[[list[str]], None] = lambda _: None
        self._at_work = threading.Lock()

    def work(self, names: list[str]) -> None:
        """Note that something is computed for these."""
        if not self._at_work.acquire(blocking=False):
            self.violations.append(f"{names} beside others")
            self._at_work.acquire()
        try:
            self.on_burst(names)
        finally:
            self._at_work.release()

    def __repr__(self) -> str:
        return f"<Crowd {len(self.bursts)} bursts>"


class JoinedSegment:
    """A segment of so many tokens in chunks of ten, of which it may have any number; `lacks` is told once."""

    lane = Lane.TOKENS
    modules = frozenset({TOKENS})

    def __init__(self, crowd: Crowd, name: str, tokens: int, *, rows: int = 2) -> None:
        self.name = name
        self.tokens = tokens
        self.rows = rows
        self.made: list[int] = []
        self.begun = False
        self.cancelled = False
        self.closed = False
        self.lacks: ServiceError | None = None
        self.alone = 0
        self._crowd = crowd

    @property
    def ended(self) -> bool:
        """Whether no token follows."""
        return self.cancelled or len(self.made) >= self.tokens

    @property
    def has_step(self) -> bool:
        """Whether one does."""
        return not self.ended

    @property
    def together(self) -> object:
        """The crowd."""
        return self._crowd

    @property
    def free_places(self) -> int:
        """How many may begin."""
        return self._crowd.places

    @property
    def most_together(self) -> int:
        """How many share a burst."""
        return self._crowd.most

    @property
    def need(self) -> TokenNeed | None:
        """Tokens to the end of its chunk, and any number besides."""
        if self.ended:
            return None
        left = CHUNK_TOKENS - len(self.made) % CHUNK_TOKENS
        return TokenNeed(rows=self.rows, left=left, room=left + 100, ahead=0, begun=self.begun)

    def begin(self, leased: Modules) -> None:
        """Take a place, unless it was cancelled."""
        if self.cancelled:
            return
        assert set(leased) == self.modules
        if not self._crowd.places:
            raise ServiceError(Reason.AT_CAPACITY, "no place", retry_after_seconds=1.0)
        self._crowd.prompts.append(self.name)
        self._crowd.work([self.name])
        self._crowd.places -= 1
        self.begun = True
        self.made.append(0)

    def burst(self, stages: Sequence["JoinedSegment"], leased: Modules, count: int) -> Sequence[TokensMade]:
        """Count on for each."""
        assert set(leased) == self.modules
        if len({each.rows for each in stages}) > 1 or not all(each.begun for each in stages):
            self._crowd.violations.append(f"{stages} cannot share a burst")
        names = [each.name for each in stages]
        self._crowd.bursts.append(names)
        self._crowd.work(names)
        return [each.lacks or [len(each.made) + number for number in range(count)] for each in stages]

    def take(self, made: TokensMade, leased: Modules) -> None:
        """Have them."""
        del leased
        self.lacks = None
        if isinstance(made, ServiceError):
            raise made
        assert not isinstance(made, Exception)
        if self.cancelled:
            return
        if made[0] != len(self.made):
            self._crowd.violations.append(f"{self.name} has another's tokens")
        self.made += made
        if self.ended:
            self._crowd.places += 1

    def close(self, *, over: bool = False) -> None:
        """Give the place back, if it was cancelled or its order is over."""
        if (over or self.cancelled) and self.begun and len(self.made) < self.tokens and not self.closed:
            self.closed = True
            self._crowd.places += 1

    def step(self, leased: Modules) -> None:
        """Have a token alone."""
        del leased
        self.alone += 1
        self.made.append(len(self.made))

    def __repr__(self) -> str:
        return f"<JoinedSegment {self.name} {len(self.made)} of {self.tokens}>"


class Taker:
    """Takes steps as an order does: whatever they are."""

    def __init__(self) -> None:
        self.stops: list[Callable[[], object]] = []

    def take(self, stage: Stage, leased: Modules) -> None:
        """Take one."""
        stage.step(leased)

    def on_restore(self, module: ModuleName, expected_seconds: float | None) -> None:
        """Hear of a wait for a module."""

    def on_wait(self, stop: Callable[[], object]) -> None:
        """Keep what ends a wait."""
        self.stops.append(stop)

    def __repr__(self) -> str:
        return f"<Taker {len(self.stops)} waits>"


class LeavingSegment(JoinedSegment):
    """A segment that may leave, in `asks` calls, unless there is no room; it is back with its next tokens."""

    def __init__(self, crowd: Crowd, name: str, tokens: int, *, asks: int = 3) -> None:
        super().__init__(crowd, name, tokens)
        self.departures = 0
        self.has_room = True
        self.is_away = False
        self._asks = asks
        self._asked = 0

    @property
    def rest(self) -> "LeavingSegment | None":
        """Itself, once it has begun."""
        return self if self.begun else None

    @property
    def ahead(self) -> int:
        """Nothing is decoded later."""
        return 0

    @property
    def has_pages(self) -> bool:
        """Whether it is there."""
        return self.begun and not self.is_away

    def leave(self) -> Leave:
        """Leave, if there is room, with the last call."""
        if not self.has_room:
            return Leave.NO_ROOM
        self._asked += 1
        if self._asked % self._asks:
            return Leave.LATER
        self._crowd.work([self.name])
        self.is_away = True
        self.departures += 1
        return Leave.LEFT

    def forget_room(self) -> None:
        """Have no room to forget."""

    def burst(self, stages: Sequence[JoinedSegment], leased: Modules, count: int) -> Sequence[TokensMade]:
        """Have all come back, whatever they lack then, and count on."""
        for each in stages:
            if isinstance(each, LeavingSegment):
                each.is_away = False
        return super().burst(stages, leased, count)

    def __repr__(self) -> str:
        return f"<LeavingSegment {self.name} {'away' if self.is_away else 'there'} {len(self.made)} of {self.tokens}>"
