"""Answers operators on the policy socket, and comes back when somebody deletes it.

Cleaners of temporary folders delete sockets, and so do people. A server that goes on behind a name that is gone cannot
be reached by anybody, so the socket is looked at now and then, and bound anew when it is not the one that was bound.
"""

from collections.abc import Callable
from pathlib import Path

import grpc
import structlog

from memory_daemon.errors import StartupError
from memory_daemon.loose_timers import loose_timers
from memory_daemon.policy_socket import SocketPlace, take_place

TEND_SECONDS = 1.0
STOP_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class PolicyServer:
    """A server on a socket of its own; `make` returns one that is bound to nothing yet."""

    def __init__(
        self, *, path: Path, folder_mode: int, make: Callable[[], grpc.Server], clock: Callable[[], float]
    ) -> None:
        self._path = path
        self._folder_mode = folder_mode
        self._make = make
        self._clock = clock
        self._place: SocketPlace | None = None
        self._server: grpc.Server | None = None
        self._inode: int | None = None
        self._looked_seconds = 0.0
        self._trouble = ""

    def __repr__(self) -> str:
        return f"<PolicyServer {self._path} {'serving' if self._server else self._trouble or 'stopped'}>"

    @loose_timers()
    def start(self) -> None:
        """Take the place and serve; raises StartupError with the way out."""
        self._place = place = take_place(self._path, self._folder_mode)
        server = self._make()
        try:
            server.add_insecure_port(place.address)
        except RuntimeError as error:
            self._release()
            raise StartupError(f"{place.path} cannot be bound: {error}; choose another --policy-socket") from error
        place.open_to_group()
        self._inode = _inode_of(self._path)
        server.start()
        self._server = server
        self._looked_seconds = self._clock()

    def tend(self) -> None:
        """Look now and then whether the socket is still there, and serve anew if not; trouble is said once."""
        now_seconds = self._clock()
        if now_seconds - self._looked_seconds < TEND_SECONDS:
            return
        self._looked_seconds = now_seconds
        if self._server is not None and _inode_of(self._path) == self._inode:
            return
        # gRPC deletes the path when a server on it ends, so that the old one must have ended before the new one binds.
        self.stop(0.0)
        try:
            self.start()
        except (StartupError, OSError) as error:
            self._note_trouble(str(error))
        else:
            self._trouble = ""
            _log.warning("policy_socket_bound_anew", socket=str(self._path), reason="it was deleted or replaced")

    def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Let calls end within the grace, and give the place up."""
        if self._server is not None:
            self._server.stop(grace_seconds).wait(STOP_SECONDS)
            self._server = None
        self._release()

    def _release(self) -> None:
        if self._place is not None:
            self._place.release(ours=_inode_of(self._path) == self._inode)
            self._place = None

    def _note_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.error("policy_socket_lost", trouble=trouble)
        self._trouble = trouble


def _inode_of(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except OSError:
        return None
