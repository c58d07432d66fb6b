"""Lets threads that only wait be woken late, so that several wakings become one.

gRPC's threads look for work on their own: after 15 ms, then after 1.3 times as long, and from the beginning after every
message. There is one for each core, up to 16. With a service that reports every second that is 70 wakings a second, and
half of what an idle daemon took. The library has no setting for it, nor for how many threads there are, but the kernel
has: a thread's timer slack (prctl(2)), which its children take over. Only timers that run out are late; who is called
wakes at once, so that nothing that is said or moved waits longer.

Never for what has a time to keep: the loop, the thread that reads memory, a link's retries and renewals, and what
answers operators. Those of them that gRPC's threads begin take their own timers back.
"""

import contextlib
import ctypes
from collections.abc import Iterator

SLACK_SECONDS = 1.0
"""Of gRPC's own times only limits are left here, of 5 s and more: a hung call may end that much later. So may the
answer to a message above the limit, which no caller of ours sends; and a service is found that much later, since
dialling has waits.

On a machine of 16 cores an idle daemon woke 69 times a second with 0.25 s, 32 times with this, 20 with 4 s, with which
dialling was often taken for silence."""
EXACT_SECONDS = 50e-6
"""What the kernel gives a process to begin with."""
SET_SLACK, GET_SLACK = 29, 30
"""As in `linux/prctl.h`."""
TOLD = 0xFFFF_FFFF
"""The call tells 32 bits, which Python takes for a number with a sign."""


@contextlib.contextmanager
def loose_timers() -> Iterator[None]:
    """Loosen the timers of threads that are begun inside; the calling thread's own are afterwards as they were."""
    before_nanoseconds = _slack_nanoseconds()
    _set_slack_nanoseconds(int(SLACK_SECONDS * 1e9))
    try:
        yield
    finally:
        if before_nanoseconds > 0:
            _set_slack_nanoseconds(before_nanoseconds)


def exact_timers() -> None:
    """Have the calling thread's timers be exact, whoever began it."""
    _set_slack_nanoseconds(int(EXACT_SECONDS * 1e9))


def _slack_nanoseconds() -> int:
    """Return the calling thread's slack; -1 where the system has none."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return -1 if prctl is None else int(prctl(GET_SLACK, 0, 0, 0, 0)) & TOLD


def _set_slack_nanoseconds(nanoseconds: int) -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(SET_SLACK, ctypes.c_ulong(nanoseconds), 0, 0, 0)
