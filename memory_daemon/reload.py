"""Reads the configuration again on SIGHUP, and puts its policy in force as a whole.

What was tuned while the daemon ran goes with it, and comes back with `memctl undo`. A file that cannot be used changes
nothing and is said; settings that are not numbers of the policy wait for a restart, and are named. A signal that comes
while the daemon begins waits until it can be followed; one that comes while it ends is not.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from types import FrameType

import structlog

from memory_daemon.audit import Audit
from memory_daemon.config import DaemonConfig
from memory_daemon.errors import DaemonError, StartupError
from memory_daemon.marks import Policy
from memory_daemon.store import PolicyStore

BY_RELOAD = "configuration (SIGHUP)"
STOP_SECONDS = 2.0
POLICY_SETTINGS = {"policy", "profile"}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """How settings are read again: whole, and the policy that follows from them. Both raise StartupError."""

    read: Callable[[], DaemonConfig]
    policy_of: Callable[[DaemonConfig], Policy]


class Reloader:
    """Does it in a thread of its own, so that neither the loop nor a signal handler waits for a disk."""

    def __init__(self, *, config: DaemonConfig, configured: Configured, policies: PolicyStore, audit: Audit) -> None:
        self._config = config
        self._configured = configured
        self._policies = policies
        self._audit = audit
        self._asked: SimpleQueue[signal.Signals | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._reloads = 0

    def __repr__(self) -> str:
        return f"<Reloader {self._reloads} reloads>"

    def start(self) -> None:
        """Listen for SIGHUP from now on, one that waits included; called in the main thread."""
        self._thread.start()
        signal.signal(signal.SIGHUP, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def close(self) -> None:
        """Listen no more; whoever says it now is too late."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._asked.put(None)
        self._thread.join(STOP_SECONDS)

    def reload(self) -> None:
        """Read the configuration again now, and put its policy in force."""
        self._reloads += 1
        try:
            config = self._configured.read()
            policy = self._configured.policy_of(config)
            before, after = self._policies.reload(policy, BY_RELOAD)
        except (StartupError, DaemonError) as error:
            _log.error("configuration_not_reloaded", error=str(error), note="the policy in force stays")
            return
        self._audit.policy(before, after)
        waiting = _restart_settings(self._config, config)
        _log.info("configuration_reloaded", revision=after.revision, changed=after is not before)
        if waiting:
            _log.warning("settings_wait_for_a_restart", settings=waiting)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Nothing but this is safe in a handler: a SimpleQueue takes no lock that the main thread could hold.
        del frame
        self._asked.put(signal.Signals(number))

    def _run(self) -> None:
        while self._asked.get() is not None:
            self.reload()


@contextlib.contextmanager
def hangups_wait() -> Iterator[None]:
    """Let SIGHUP wait while inside, until somebody listens; unlistened to, it would end the process."""
    handler = signal.getsignal(signal.SIGHUP)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, handler)


def _restart_settings(before: DaemonConfig, after: DaemonConfig) -> list[str]:
    names = set(DaemonConfig.model_fields) - POLICY_SETTINGS
    return sorted(name for name in names if getattr(before, name) != getattr(after, name))
