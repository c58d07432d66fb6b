"""A link whose service breaks every stream: it begins again a thousand times, and leaves nothing behind."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc
from memory_daemon.link import Greeting, Link
from memory_daemon.link_view import LinkState
from tests.fakes.hurt import descriptors

RECONNECTS = 1_000
WAIT_SECONDS = 60.0
OWN = "self"


class Fickle(residency_pb2_grpc.ResidencyServiceServicer):
    """Lets every governor in, and breaks the stream in one of three ways, until it has had enough of that."""

    def __init__(self, breaks: int) -> None:
        self.epochs = 0
        self.holders: set[str] = set()
        self.settled = threading.Event()
        self._breaks = breaks
        self._ways = random.Random(3)

    def Govern(  # noqa: N802 - The method's name in the API.
        self, request_iterator: Iterator[residency_pb2.GovernRequest], context: grpc.ServicerContext
    ) -> Iterator[residency_pb2.GovernResponse]:
        """Welcome, and break; the last stream is kept."""
        self.holders.add(next(request_iterator).hello.holder_id)
        self.epochs += 1
        welcome = residency_pb2.Welcome(epoch=self.epochs, protocol_version=1, service_name="fickle")
        yield residency_pb2.GovernResponse(welcome=welcome)
        if self.epochs > self._breaks:
            self.settled.set()
            for _ in request_iterator:
                pass
        match self._ways.randrange(3):
            case 0:
                return
            case 1:
                context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            case _:
                context.abort(grpc.StatusCode.INTERNAL, "broken")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """End what was started."""
    with ExitStack() as opened, capture_logs():
        yield opened


def started(servicer: Fickle, folder: Path, stack: ExitStack) -> Link:
    """Serve, and have a link that never rests govern it."""
    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool)
    residency_pb2_grpc.add_ResidencyServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{folder / 'fickle.sock'}")
    server.start()
    stack.callback(pool.shutdown)
    stack.callback(lambda: server.stop(0).wait())
    link = Link(
        socket=folder / "fickle.sock",
        greeting=Greeting(holder_id="holder", display_name="", takeover=False),
        clock=time.monotonic,
        jitter=lambda: 0.0,
        on_change=lambda: None,
        retry=lambda *_: 0.0,
    )
    link.start()
    stack.callback(link.join, 10)
    stack.callback(link.stop)
    return link


def test_thousand_broken_streams_leave_neither_threads_nor_descriptors(tmp_path: Path, stack: ExitStack) -> None:
    """The same holder is there each time, and in the end governs as if nothing had been."""
    servicer = Fickle(RECONNECTS)
    threads, files = threading.active_count(), descriptors(OWN)
    link = started(servicer, tmp_path, stack)
    settled = servicer.settled.wait(WAIT_SECONDS)
    time.sleep(0.1)

    assert (True, RECONNECTS + 1, {"holder"}) == (settled, servicer.epochs, servicer.holders)
    assert (LinkState.GOVERNING, RECONNECTS + 1) == (link.view.state, link.view.epoch)
    assert threading.active_count() <= threads + 12
    assert descriptors(OWN) <= files + 20
