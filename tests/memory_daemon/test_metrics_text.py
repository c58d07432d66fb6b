"""Metrics are written as Prometheus' own library would write them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric, ProcessCollector, exposition
from prometheus_client.openmetrics.exposition import generate_latest as library_openmetrics
from prometheus_client.registry import Collector

from memory_daemon.metrics_text import openmetrics_text, plain_text, text_for
from tests.fakes.metered import daemon_metrics

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What a Prometheus server sends."""


class Twice(Collector):
    """What a registry has at one moment, to be read by two writers: a process's own numbers move meanwhile."""

    def __init__(self, registry: Collector) -> None:
        self._metrics = list(registry.collect())

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield from self._metrics


def all_kinds() -> CollectorRegistry:
    """Return a registry with every kind of metric that the daemon has, and with values that are hard to write."""
    registry = CollectorRegistry()
    hard = Gauge("hard", 'A \\ and "quotes"\nand a line.', ("name",), registry=registry)
    for number, value in enumerate((0.0, -1.5, 1e22, 123_456_789.0, float("inf"), float("-inf"), float("nan"), 1e-9)):
        hard.labels(f'{number} "é"\\\n').set(value)
    Counter("counted", "", ("b", "a"), registry=registry).labels("2", "1").inc(3)
    Histogram("spread", "Spread.", buckets=(0.1, 1.0), registry=registry).observe(0.5)
    Info("about", "About.", registry=registry).info({"version": "1.2.3"})
    Gauge("empty", "Nothing yet.", ("name",), registry=registry)
    ProcessCollector(registry=registry)
    return registry


@pytest.mark.parametrize(
    ("ours", "theirs"), [(plain_text, exposition.generate_latest), (openmetrics_text, library_openmetrics)]
)
def test_text_is_the_librarys_to_the_byte(
    ours: Callable[[Collector], bytes], theirs: Callable[[Collector], bytes], tmp_path: Path
) -> None:
    """For all that the daemon tells, and for what is hard to write."""
    for registry in (daemon_metrics(tmp_path).registry, all_kinds()):
        moment = Twice(registry)

        assert theirs(moment) == ours(moment)


@pytest.mark.parametrize(
    "accepts",
    [
        "",
        "*/*",
        "text/plain",
        "text/plain;version=0.0.4",
        "application/openmetrics-text",
        "application/openmetrics-text; version=1.0.0",
        "application/openmetrics-text; version=0.0.1",
        "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.2",
        "text/html, application/openmetrics-text;q=0.5",
        PROMETHEUS,
        ";;,=,version=",
    ],
)
def test_scraper_gets_the_format_that_the_library_would_choose(accepts: str) -> None:
    """OpenMetrics where it is taken in a version that is written here, the older text otherwise."""
    kinds = [choose(accepts)[1].partition(";")[0] for choose in (exposition.choose_encoder, text_for)]

    assert kinds[0] == kinds[1]
