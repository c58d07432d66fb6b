"""What can be asked for: every name that a scrape of either process finds, with its labels."""

from pathlib import Path

import pytest

from tests.fakes.metered import daemon_metrics, labels_by_name, service_metrics

SCRAPED = frozenset({"job", "instance"})
"""Labels that Prometheus adds to all that it scrapes."""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, frozenset[str]]:
    """Return them, and what Prometheus itself adds."""
    folder: Path = tmp_path_factory.mktemp("metered")
    found = {**labels_by_name(service_metrics().registry)}
    for name, labels in labels_by_name(daemon_metrics(folder).registry).items():
        found.setdefault(name, set()).update(labels)
    return {"up": SCRAPED} | {name: frozenset(labels) | SCRAPED for name, labels in found.items()}
