"""Says to systemd that the process is ready, alive and ending: `Type=notify` and `WatchdogSec=` of its unit.

The protocol is a datagram of lines to the socket in `NOTIFY_SOCKET` (sd_notify(3)). Without that variable nobody
listens, and nothing is said. Nothing here waits: a manager that does not read loses a word, and the next one follows.
"""

import os
import socket
from collections.abc import Callable, Mapping

import structlog

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"
SIGNS_A_PERIOD = 4
"""So many signs of life in a watchdog's period: it bites only when several are missing."""
STATUS_SECONDS = 1.0
"""Words for `systemctl status` are said no more often."""

_log = structlog.get_logger(__name__)


class ServiceManager:
    """The process's word to whoever started it."""

    def __init__(self, *, address: str, watchdog_seconds: float | None, clock: Callable[[], float]) -> None:
        self._address = address
        self._watchdog_seconds = watchdog_seconds
        self._clock = clock
        self._alive_seconds: float | None = None
        self._said_seconds: float | None = None
        self._words = ""
        self._deaf = False

    def __repr__(self) -> str:
        return f"<ServiceManager {self._address or 'nobody'} watchdog={self._watchdog_seconds} {self._words!r}>"

    @property
    def sign_seconds(self) -> float | None:
        """How often a sign of life is due; None if nobody waits for one."""
        return None if self._watchdog_seconds is None else self._watchdog_seconds / SIGNS_A_PERIOD

    @property
    def turn_seconds(self) -> float:
        """How often a loop should call `alive`: in time for each sign, and for words."""
        return min(STATUS_SECONDS, self.sign_seconds or STATUS_SECONDS)

    def ready(self) -> None:
        """Say that the process serves."""
        self._say(READY)

    def stopping(self) -> None:
        """Say that the process ends of its own will."""
        self._say(STOPPING)

    def alive(self, words: str) -> None:
        """Say that the loop turns, when a sign is due, and how it stands, when that has changed."""
        now_seconds = self._clock()
        lines = []
        if self.sign_seconds is not None and _is_due(self._alive_seconds, self.sign_seconds / 2, now_seconds):
            self._alive_seconds = now_seconds
            lines.append(ALIVE)
        if words != self._words and _is_due(self._said_seconds, STATUS_SECONDS, now_seconds):
            self._said_seconds, self._words = now_seconds, words
            lines.append(f"STATUS={words}")
        if lines:
            self._say(*lines)

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as mouth:
                mouth.sendto("\n".join(lines).encode(), _socket_name(self._address))
        except OSError as error:
            if not self._deaf:
                _log.warning("service_manager_unreachable", address=self._address, error=str(error))
            self._deaf = True


def manager_in(environment: Mapping[str, str], clock: Callable[[], float]) -> ServiceManager:
    """Return the manager that started this process, as its variables tell; one that hears nothing if there is none."""
    return ServiceManager(
        address=environment.get("NOTIFY_SOCKET", ""), watchdog_seconds=_watchdog_seconds(environment), clock=clock
    )


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the watchdog's period if it is this process that it watches; a number that is none counts as none."""
    period, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    is_ours = process in {"", str(os.getpid())}
    return int(period) / 1e6 if is_ours and period.isascii() and period.isdigit() and int(period) else None


def _socket_name(address: str) -> str:
    """Return what the kernel takes: a name that begins with `@` is in the abstract name space."""
    return f"\0{address[1:]}" if address.startswith("@") else address


def _is_due(last_seconds: float | None, period_seconds: float, now_seconds: float) -> bool:
    return last_seconds is None or now_seconds - last_seconds >= period_seconds
