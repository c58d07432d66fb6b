"""The places for streams of one kind: each holds a thread for as long as it lives, so there are only so many."""

import threading
from collections.abc import Callable
from typing import Any

from tts_service.api.control_outbox import ControlOutbox
from tts_service.errors import GreenroomError, Reason, ServiceError

FULL_RETRY_SECONDS = 1.0


class StreamSlots:
    """Streams under way, at most `limit`; one that was told to end but cannot, since nobody reads it, gives way."""

    def __init__(self, *, kind: str, limit: int) -> None:
        self._kind = kind
        self._limit = limit
        self._lock = threading.Lock()
        self._streams: dict[ControlOutbox[Any], Callable[[], object]] = {}
        self._closed_with: GreenroomError | None = None

    def __repr__(self) -> str:
        return f"<StreamSlots {self._kind} {len(self._streams)} of {self._limit}>"

    def enter(self, outbox: ControlOutbox[Any], cancel: Callable[[], object]) -> None:
        """Take a place, or raise ServiceError AT_CAPACITY, or the error of `close`."""
        with self._lock:
            if self._closed_with is not None:
                raise self._closed_with
            if len(self._streams) < self._limit:
                self._streams[outbox] = cancel
                return
            stuck = [cancel_it for known, cancel_it in self._streams.items() if known.closed]
        for cancel_it in stuck:
            cancel_it()
        raise ServiceError(
            Reason.AT_CAPACITY,
            f"all {self._limit} places for {self._kind} are taken",
            retry_after_seconds=FULL_RETRY_SECONDS,
        )

    def leave(self, outbox: ControlOutbox[Any]) -> None:
        """Give a place back; once is enough."""
        with self._lock:
            self._streams.pop(outbox, None)

    def close(self, error: GreenroomError) -> None:
        """End every stream with an error, and refuse new ones with it."""
        with self._lock:
            self._closed_with = error
            streams = list(self._streams)
        for outbox in streams:
            outbox.close(error)
