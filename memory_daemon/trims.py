"""The first rung: what a service's allocator keeps of the device without using it is asked for before modules leave.

Pure. A service is asked once and answers with what came of it. What an answer leaves shares blocks with memory in use
and is not asked for again until that memory was used; a service that was asked just now is left alone, because its
allocator takes memory again at a price.
"""

from dataclasses import dataclass, replace

from memory_daemon.usage import DeviceUsage, TrimAnswer

TRIM_PATIENCE_SECONDS = 0.5
"""Giving a cache back takes milliseconds; a service that has not answered by then is busy, and modules are asked."""
TRIM_REST_SECONDS = 10.0
RETRY_SECONDS = 60.0
"""A service that did not answer, or could not try, is asked for the same again after that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trim:
    """One request to a service; `ended_seconds` None while it is open.

    `left_bytes` is what it could not give, as far as its allocator has kept it all the time since; `failed` if it did
    not say.
    """

    number: int
    since_seconds: float
    expected_bytes: int
    ended_seconds: float | None = None
    released_bytes: int = 0
    left_bytes: int = 0
    failed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it may still be answered."""
        return self.ended_seconds is None


def followed(
    trim: Trim | None, answer: TrimAnswer | None, usage: DeviceUsage | None, now_seconds: float
) -> Trim | None:
    """Return a request after a look at the newest answer; one that nobody answers in time has brought nothing."""
    if trim is None:
        return None
    kept_bytes = 0 if usage is None else usage.kept_bytes
    if not trim.is_open:
        return replace(trim, left_bytes=min(trim.left_bytes, kept_bytes))
    if answer is not None and answer.number == trim.number and answer.left_bytes is not None:
        released_bytes, left_bytes = max(0, answer.released_bytes), answer.left_bytes
        return replace(trim, ended_seconds=now_seconds, released_bytes=released_bytes, left_bytes=left_bytes)
    late = now_seconds - trim.since_seconds >= TRIM_PATIENCE_SECONDS
    if late or (answer is not None and answer.number == trim.number):
        return replace(trim, ended_seconds=now_seconds, left_bytes=kept_bytes, failed=True)
    return trim


def trimmable_bytes(usage: DeviceUsage | None, trim: Trim | None, *, minimum_bytes: int, now_seconds: float) -> int:
    """Return what a service may give back of its allocator's; 0 if that is not worth asking, or it was asked lately."""
    if usage is None or (trim is not None and _was_asked_lately(trim, now_seconds)):
        return 0
    gain_bytes = usage.kept_bytes - (0 if trim is None else _left_bytes(trim, now_seconds))
    return gain_bytes if gain_bytes >= max(1, minimum_bytes) else 0


def next_number(trim: Trim | None) -> int:
    """Return the number of the next request to a service."""
    return 1 if trim is None else trim.number + 1


def _was_asked_lately(trim: Trim, now_seconds: float) -> bool:
    return trim.is_open or now_seconds - trim.since_seconds < TRIM_REST_SECONDS


def _left_bytes(trim: Trim, now_seconds: float) -> int:
    assert trim.ended_seconds is not None
    return 0 if trim.failed and now_seconds - trim.ended_seconds >= RETRY_SECONDS else trim.left_bytes
