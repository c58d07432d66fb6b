"""Writes metrics as scrapers read them: OpenMetrics for those that take it, else Prometheus' older text format.

The library's writer of the older one comes with its HTTP servers, clients and TLS, 5 MiB that nothing here uses. What
is written is the same to the byte for the kinds of metrics that there are here: a test holds it.
"""

from collections.abc import Callable

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

OPENMETRICS = "application/openmetrics-text"
TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
SUFFIXES = {"counter": "_total", "info": "_info"}
"""What a metric of a kind is called in the older format; there its samples have no name of their own."""
KINDS = {"info": "gauge", "unknown": "untyped"}
"""Kinds that the older format has another word for."""


def text_for(accepts: str) -> tuple[Callable[[Collector], bytes], str]:
    """Return what makes the text for a scraper that accepts this (an HTTP header), and the content type."""
    if any(_is_openmetrics(media) for media in accepts.split(",")):
        return openmetrics_text, OPENMETRICS_TYPE
    return plain_text, TEXT_TYPE


def openmetrics_text(registry: Collector) -> bytes:
    """Return all of a registry as OpenMetrics 1.0."""
    text: bytes = exposition.generate_latest(registry)  # type: ignore[no-untyped-call]  # The library gives it no types.
    return text


def plain_text(registry: Collector) -> bytes:
    """Return all of a registry in the text format 0.0.4."""
    return "".join(line for metric in registry.collect() for line in _lines(metric)).encode()


def _is_openmetrics(media: str) -> bool:
    """Whether that is OpenMetrics in a version that is written here; without one the scraper takes any."""
    kind, *parameters = (word.strip() for word in media.split(";"))
    versions = [word.removeprefix("version=") for word in parameters if word.startswith("version=")]
    return kind == OPENMETRICS and all(version.startswith("1.") for version in versions)


def _lines(metric: Metric) -> list[str]:
    name = metric.name + SUFFIXES.get(metric.type, "")
    words = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    head = [f"# HELP {name} {words}\n", f"# TYPE {name} {KINDS.get(metric.type, metric.type)}\n"]
    return [*head, *(_line(sample) for sample in metric.samples)]


def _line(sample: Sample) -> str:
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(sample.labels.items()))
    value: str = floatToGoString(sample.value)  # type: ignore[no-untyped-call]  # The library gives it no types.
    return f"{sample.name}{f'{{{labels}}}' if labels else ''} {value}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
