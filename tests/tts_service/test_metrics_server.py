"""Scrapes: what they get, what a bad one costs, and that nobody waits for a slow one. Both processes have the same."""

import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import prometheus_client
import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

import memory_daemon.metrics_server
import tts_service.metrics_server
from memory_daemon.metrics_text import text_for

Start = Callable[..., Any]
PATIENCE_SECONDS = 10.0
SERVERS = [(tts_service.metrics_server, choose_encoder), (memory_daemon.metrics_server, text_for)]
"""Each with what its process has texts made by."""


@pytest.fixture(params=SERVERS, ids=["service", "daemon"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Serve metrics of a registry's; all servers end with the test."""
    started = []

    def serve(*collectors: Collector, address: str = "127.0.0.1:0", **spans: float) -> Any:
        registry = prometheus_client.CollectorRegistry()
        for each in collectors:
            registry.register(each)
        module, choose = request.param
        server = module.MetricsServer(registry, address=address, choose=choose, rest_seconds=0.0, **spans)
        server.start()
        started.append(server)
        return server

    yield serve
    for each in started:
        each.close()


class One(Collector):
    """One gauge; `asked` counts how often it was read."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.asked = 0

    def collect(self) -> Iterator[prometheus_client.Metric]:
        """Yield it."""
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        yield GaugeMetricFamily("one", "One.", 1)


def asked(server: Any, path: str = "/metrics", **headers: str) -> tuple[int, str, bytes]:
    """Scrape; return status, content type and text."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


def dialled(server: Any) -> socket.socket:
    """Connect and say nothing."""
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname, place.port), timeout=PATIENCE_SECONDS)


def test_scrape_gets_the_text_that_prometheus_reads(start: Start) -> None:
    """A plain GET is answered in the text format, which its own parser reads back."""
    status, content_type, text = asked(start(One()))
    families = list(text_string_to_metric_families(text.decode()))

    assert (200, "text/plain") == (status, content_type.partition(";")[0])
    assert [("one", 1.0)] == [(sample.name, sample.value) for family in families for sample in family.samples]


def test_scrape_for_openmetrics_gets_it(start: Start) -> None:
    """What Prometheus prefers is negotiated."""
    status, content_type, text = asked(start(One()), Accept="application/openmetrics-text; version=1.0.0")

    assert (200, "application/openmetrics-text") == (status, content_type.partition(";")[0])
    assert text.endswith(b"# EOF\n")


def test_other_path_is_not_found(start: Start) -> None:
    """Nothing is served but metrics, and no text is made for whoever asks for something else."""
    collector = One()

    assert 404 == asked(start(collector), "/other")[0]
    assert 0 == collector.asked


def test_scrape_that_fails_is_answered_with_500_and_the_next_one_is_served(start: Start) -> None:
    """A fault while reading is the scraper's to hear of, and ends nothing else."""
    collector = One(fault=RuntimeError("broken"))
    server = start(collector)
    failed = asked(server)[0]
    collector.fault = None

    assert (500, 200) == (failed, asked(server)[0])


def test_silent_scraper_holds_up_nobody(start: Start) -> None:
    """Who connects and says nothing keeps a socket, not the others' answers."""
    server = start(One())
    with dialled(server), dialled(server):
        status = asked(server)[0]

    assert 200 == status


def test_scraper_beyond_the_bound_is_hung_up_on(start: Start) -> None:
    """When silent ones have taken all places, one more is refused at once; places that come free serve again."""
    server = start(One())
    held = [dialled(server) for _ in range(tts_service.metrics_server.SCRAPES_AT_ONCE)]
    with dialled(server) as refused:
        said = refused.recv(1)
    for each in held:
        each.close()

    assert b"" == said
    assert served_in_the_end(server)


def test_scraper_that_trickles_is_hung_up_on(start: Start) -> None:
    """Who never stops talking, and never comes to an end, is ended; what it would have held is free again."""
    server = start(One(), scrape_seconds=0.2)
    with dialled(server) as trickling, pytest.raises(OSError, match=r"Broken pipe|reset by peer"):
        trickle(trickling)

    assert 200 == asked(server)[0]


def trickle(scraper: socket.socket) -> None:
    """Say a request that goes on and on, as long as anybody listens."""
    scraper.sendall(b"GET /metrics HTTP/1.1\r\nX-Patience: ")
    for _ in range(int(PATIENCE_SECONDS / 0.01)):
        scraper.sendall(b"x")
        time.sleep(0.01)


def served_in_the_end(server: Any) -> bool:
    """Scrape until one is answered; a place comes free a moment after its scraper has gone."""
    deadline_seconds = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline_seconds:
        with contextlib.suppress(ConnectionError, http.client.RemoteDisconnected):
            return asked(server)[0] == HTTPStatus.OK
    return False


def test_garbage_is_refused(start: Start) -> None:
    """What is no HTTP gets an error, and the next scrape its text."""
    server = start(One())
    with dialled(server) as garbage:
        garbage.sendall(b"\x00\xff garbage\r\n\r\n")
        answer = garbage.recv(1_000)

    assert b"400" in answer
    assert 200 == asked(server)[0]


def test_address_that_is_taken_leaves_the_process_without_metrics(start: Start) -> None:
    """The second one says so in its log and goes on; the first one is not disturbed."""
    first = start(One())
    second = start(One(), address=urlsplit(first.url).netloc)

    assert ("", 200) == (second.url, asked(first)[0])


def test_closed_server_answers_nobody(start: Start) -> None:
    """After the end the port is free again."""
    server = start(One())
    address = urlsplit(server.url).netloc
    server.close()

    assert f"http://{address}/metrics" == start(One(), address=address).url


def test_both_processes_have_the_same_server() -> None:
    """The processes share no code; so what is written twice is kept the same."""
    texts = {
        Path(str(module.__file__)).read_text() for module in (tts_service.metrics_server, memory_daemon.metrics_server)
    }

    assert 1 == len(texts)
