"""The control path's own gRPC server: synchronous, with threads of its own, so that a busy event loop cannot delay it.

It serves a Unix socket. Who may connect is what the socket's and its folder's modes say; who connects cannot be known.
Cleaners of temporary folders delete sockets, and so do people: a socket that is gone is bound anew.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import structlog

from greenroom.memory.v1 import residency_pb2_grpc
from tts_service.api.lenient import without_bad_requests_in_threads
from tts_service.api.residency import ResidencyServicer
from tts_service.control_socket import ControlSocket
from tts_service.errors import StartupError
from tts_service.residency.governance import Governance

_log = structlog.get_logger(__name__)

OPTIONS = (
    # A directive of 256 placements is under 64 KiB, a memory report of 10,000 samples under 1 MiB.
    ("grpc.max_receive_message_length", 256 * 1024),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    # A governor whose process is stopped counts as gone after 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # Whoever connects and says nothing is not kept.
    ("grpc.server_handshake_timeout_ms", 5_000),
)


class ControlServer:
    """Serves ResidencyService on a Unix socket, and keeps the governance running meanwhile."""

    def __init__(self, *, socket: ControlSocket, governance: Governance, servicer: ResidencyServicer) -> None:
        self._socket = socket
        self._governance = governance
        self._servicer = servicer
        self._pool: ThreadPoolExecutor | None = None
        self._server: grpc.Server | None = None
        self._lock = threading.Lock()
        self._lost = False

    def __repr__(self) -> str:
        return f"<ControlServer {'serving' if self._server else 'stopped'} {self._socket!r}>"

    @property
    def socket_path(self) -> Path:
        """The absolute path of the socket."""
        return self._socket.path

    def take(self) -> None:
        """Make the socket ours, unless that is done; raises StartupError with the way out."""
        if not self._socket.taken:
            self._socket.take()

    def start(self) -> None:
        """Take the socket, unless that is done, and serve; raises StartupError with the way out."""
        assert self._server is None
        server = self._open()
        self._governance.start()
        server.start()
        _log.info("control_serving", socket=str(self._socket.path))

    def tend(self) -> None:
        """Serve anew if the socket is gone. Streams on the old one end, and governors dial again."""
        with self._lock:
            if not self._lost and (self._server is None or self._socket.there):
                return
            if self._server is not None:
                self._close_server(0.0)
            self._socket.make_folder()
            try:
                self._open().start()
            except StartupError as error:
                if not self._lost:
                    _log.error("control_socket_lost", trouble=str(error))
                self._lost = True
            else:
                self._lost = False
                _log.warning("control_socket_bound_anew", socket=str(self._socket.path))

    def _open(self) -> grpc.Server:
        """Bind a server to the socket and return it."""
        self.take()
        threads = self._servicer.thread_count
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="control")
        # More calls than threads would wait unseen; they are refused instead.
        self._server = grpc.server(self._pool, options=OPTIONS, maximum_concurrent_rpcs=threads)
        registrar = without_bad_requests_in_threads(self._server)
        residency_pb2_grpc.add_ResidencyServiceServicer_to_server(self._servicer, registrar)
        try:
            self._server.add_insecure_port(self._socket.address)
            self._socket.opened()
        except (RuntimeError, OSError) as error:
            self._close_server(0.0)
            raise StartupError(f"cannot bind the control socket {self._socket.path}: {error}") from error
        return self._server

    def stop(self, grace_seconds: float = 1.0) -> None:
        """End every stream, let calls finish within the grace, remove the socket and give it back."""
        with self._lock:
            serving, self._lost = self._server is not None or self._lost, False
            if not serving:
                self._socket.release()
                return
            self._servicer.close()
            if self._server is not None:
                self._close_server(grace_seconds)
            self._governance.close()
        _log.info("control_stopped", socket=str(self._socket.path))

    def _close_server(self, grace_seconds: float) -> None:
        assert self._server is not None
        assert self._pool is not None
        self._server.stop(grace_seconds).wait()
        self._pool.shutdown()
        self._server = self._pool = None
        self._socket.release()


async def tended(control: ControlServer, *, period_seconds: float = 1.0) -> None:
    """Look now and then whether the socket is still there; off the event loop, because ending a server takes time."""
    while True:
        await asyncio.sleep(period_seconds)
        await asyncio.to_thread(control.tend)
