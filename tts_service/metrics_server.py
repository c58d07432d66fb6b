"""Answers scrapes: `GET /metrics` over HTTP, at a distance from everything else.

Rules
* A scrape has a thread of its own and never waits inside what it tells about: the text is made first, then written, so
  that a scraper that reads slowly holds a socket and nothing else.
* Everything is bounded: how many are answered at once, how long each may take, word by word and as a whole, and how
  often the text is made at all, because that takes the interpreter from whoever computes.
* A scrape that fails is logged and answered with 500. An address that cannot be had is logged, and nobody is answered:
  metrics are no reason to be silent.
"""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import structlog
from prometheus_client.registry import CollectorRegistry

SCRAPES_AT_ONCE = 4
"""Prometheus is one, a person with a browser another; who comes beyond that is hung up on."""
SOCKET_SECONDS = 5.0
"""A scraper that says or takes nothing for so long is hung up on; Prometheus itself gives up after 10 s."""
SCRAPE_SECONDS = 15.0
"""A whole scrape takes no longer, however steadily it trickles; a handful of such would keep all others out."""
REST_SECONDS = 0.1
"""Rest between two texts. One of 330 lines took 1.3 ms on an idle core, so a flood of scrapes takes little of it."""
ACCEPT_REST_SECONDS = 0.1
PATH = "/metrics"

_log = structlog.get_logger(__name__)

Encoder = Callable[[Any], bytes]
ChooseEncoder = Callable[[str], tuple[Encoder, str]]
"""Returns, for what a scraper accepts, what makes the text of a registry, and the content type of that."""


class _Answer(BaseHTTPRequestHandler):
    """One scrape."""

    server: "_Listener"
    timeout = SOCKET_SECONDS  # The socket's, set before anything is read.

    def do_GET(self) -> None:
        """Answer it."""
        if urlsplit(self.path).path != PATH:
            self.send_error(HTTPStatus.NOT_FOUND, explain=f"metrics are at {PATH}")
            return
        encode, content_type = self.server.choose(self.headers.get("Accept", ""))
        try:
            text = self.server.text(encode)
        except Exception:  # noqa: BLE001  # Whatever it is, the process goes on, and the scraper hears of it.
            _log.exception("scrape_failed")
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def version_string(self) -> str:
        """Say who answers, without versions of what it is made of."""
        return "greenroom"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # The library's name.
        """Log nothing of scrapes that went well."""


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The socket, and a thread for each scrape."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry,
        choose: ChooseEncoder,
        rest_seconds: float,
        scrape_seconds: float,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.choose = choose
        self._registry = registry
        self._rest_seconds = rest_seconds
        self._scrape_seconds = scrape_seconds
        self._places = threading.BoundedSemaphore(SCRAPES_AT_ONCE)
        self._turn = threading.Lock()
        self._made_seconds = -rest_seconds
        super().__init__((host, port), _Answer)

    def text(self, encode: Encoder) -> bytes:
        """Make the text, one scrape after the other, with a rest between them."""
        with self._turn:
            time.sleep(max(0.0, self._made_seconds + self._rest_seconds - time.monotonic()))
            try:
                return encode(self._registry)
            finally:
                self._made_seconds = time.monotonic()

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection; while there are no descriptors for one, do not spin."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(ACCEPT_REST_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, unless too many are being answered."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer until the deadline, and give the place back."""
        deadline = threading.Timer(self._scrape_seconds, _hang_up, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a scraper went away in the middle."""
        del request, client_address
        _log.debug("scrape_broken_off", exc_info=True)

    def __repr__(self) -> str:
        return f"<_Listener on {self.server_address}>"


class MetricsServer:
    """Serves a registry's metrics at `HOST:PORT`, as `choose` has them written; port 0 takes a free one."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        address: str,
        choose: ChooseEncoder,
        rest_seconds: float = REST_SECONDS,
        scrape_seconds: float = SCRAPE_SECONDS,
    ) -> None:
        self._registry = registry
        self._address = address
        self._choose = choose
        self._rest_seconds = rest_seconds
        self._scrape_seconds = scrape_seconds
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def url(self) -> str:
        """Where the metrics are; empty while nobody is answered."""
        if self._listener is None:
            return ""
        return f"http://{self._address.rpartition(':')[0]}:{self._listener.server_address[1]}{PATH}"

    def start(self) -> None:
        """Take the address and answer from now on; if it cannot be had, say so in the log and go on without."""
        host, _, port = self._address.rpartition(":")
        try:
            self._listener = _Listener(
                host.strip("[]"),
                int(port),
                registry=self._registry,
                choose=self._choose,
                rest_seconds=self._rest_seconds,
                scrape_seconds=self._scrape_seconds,
            )
        except OSError as error:
            way_out = "free it, choose another with metrics.address, or switch metrics.enabled off"
            _log.warning("metrics_unavailable", address=self._address, error=str(error), way_out=way_out)
            return
        self._thread = threading.Thread(target=self._serve, args=(self._listener,), name="metrics", daemon=True)
        self._thread.start()
        _log.info("metrics_served", url=self.url)

    def close(self) -> None:
        """Answer nobody any more; scrapes under way are not waited for."""
        if self._listener is None or self._thread is None:
            return
        self._closing = True
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.socket.getsockname()[:2], SOCKET_SECONDS).close()
        self._thread.join(SOCKET_SECONDS)
        self._listener.server_close()
        self._listener = self._thread = None

    def _serve(self, listener: _Listener) -> None:
        """Take scrapes until closed, without looking up in between: `close` dials once more."""
        while not self._closing:
            listener.handle_request()

    def __repr__(self) -> str:
        return f"<MetricsServer {self.url or 'silent'}>"


def _hang_up(request: socket.socket) -> None:
    """End whatever its thread waits for; the thread itself closes it."""
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
