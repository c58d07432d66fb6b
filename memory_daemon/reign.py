"""One Govern stream from hello to its end: what is to be said next, and whether the other side still speaks.

The daemon posts its wish every tick, as a sign of life and not as news: what is new is sent at once, what is known is
renewed in time, and what was not posted lately is not renewed, so that a loop that hangs lets its directives expire. A
service reports every second; one that is silent for long is given up.
"""

import threading
from collections.abc import Callable, Iterator
from itertools import count, takewhile

from greenroom.memory.v1 import residency_pb2
from memory_daemon.loose_timers import exact_timers
from memory_daemon.residency_messages import directive_message
from memory_daemon.types import Directive

SILENCE_SECONDS = 5.0
"""Five reports are missing: the service hangs."""


class Reign:
    """The sending half of one stream. gRPC's thread waits in it; every other method returns at once."""

    def __init__(
        self,
        *,
        hello: residency_pb2.GovernRequest,
        clock: Callable[[], float],
        silence_seconds: float,
        on_silence: Callable[[], None],
    ) -> None:
        self._hello = hello
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._on_silence = on_silence
        self._changed = threading.Condition()
        self._closed = False
        self._epoch = 0
        self._heard_seconds = clock()
        self._posted: Directive | None = None
        self._posted_seconds = 0.0
        self._sent: Directive | None = None
        self._sent_seconds = 0.0
        self._refused_version = 0

    def __repr__(self) -> str:
        sent = 0 if self._sent is None else self._sent.version
        return f"<Reign epoch={self._epoch} sent={sent}{' closed' if self._closed else ''}>"

    @property
    def sent_version(self) -> int:
        """Version of the last directive sent; 0 for none."""
        return 0 if self._sent is None else self._sent.version

    def requests(self) -> Iterator[residency_pb2.GovernRequest]:
        """Yield what is to be sent, until the stream is closed."""
        exact_timers()  # A thread of gRPC's waits here, and renewals have their time.
        yield self._hello
        said: tuple[Directive, int] | None = None
        for directive in iter(self._next_directive, None):
            # A renewal is the same message again.
            if said != (directive, self._epoch):
                said, message = (directive, self._epoch), directive_message(self._epoch, directive)
            yield message

    def hear(self) -> None:
        """Note that the service spoke."""
        self._heard_seconds = self._clock()

    def begin(self, epoch: int) -> None:
        """Note that the service let us in: now directives may be sent."""
        with self._changed:
            self._epoch = epoch
            self._changed.notify_all()

    def post(self, directive: Directive | None) -> None:
        """Take the newest directive; the one before it is forgotten, sent or not. None lets it expire."""
        with self._changed:
            news = directive != self._posted
            self._posted, self._posted_seconds = directive, self._clock()
            if news:
                self._changed.notify_all()

    def refuse(self, version: int) -> None:
        """Note that a version was refused: it is not sent again."""
        with self._changed:
            self._refused_version = max(self._refused_version, version)

    def close(self) -> None:
        """Let gRPC's thread go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next_directive(self) -> Directive | None:
        """Wait for the next directive to send; None at the end."""
        with self._changed:
            for _ in takewhile(self._goes_on, count()):
                directive = self._due()
                if directive is not None:
                    self._sent, self._sent_seconds = directive, self._clock()
                    return directive
                self._changed.wait(self._wait_seconds())
        if not self._closed:
            self._on_silence()
        return None

    def _goes_on(self, _: int) -> bool:
        return not self._closed and self._silence_left_seconds() > 0

    def _due(self) -> Directive | None:
        posted, now_seconds = self._posted, self._clock()
        if not self._epoch or posted is None or posted.version == self._refused_version:
            return None
        if now_seconds - self._posted_seconds > posted.valid_for_seconds:
            return None
        return posted if self._is_news(posted) or now_seconds >= self._renewal_due_seconds() else None

    def _is_news(self, posted: Directive) -> bool:
        sent = self._sent
        return sent is None or (posted.version, posted.valid_for_seconds) != (sent.version, sent.valid_for_seconds)

    def _renewal_due_seconds(self) -> float:
        assert self._posted is not None
        return self._sent_seconds + self._posted.renewal_seconds

    def _silence_left_seconds(self) -> float:
        return self._heard_seconds + self._silence_seconds - self._clock()

    def _wait_seconds(self) -> float:
        """Return the time until something may be due; a moment longer, so that it then is."""
        waits = [self._silence_left_seconds()]
        if self._epoch and self._posted is not None:
            renewal_seconds = self._renewal_due_seconds() - self._clock()
            waits.append(renewal_seconds if renewal_seconds > 0 else self._posted.renewal_seconds)
        return max(0.0, min(waits)) + 0.001
