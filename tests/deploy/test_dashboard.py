"""The dashboard: panels that fit, and ask for metrics that there are."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.promql import asked_for, grouped_by

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "greenroom.json").read_text()
)
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
COLUMNS = 24
LEGEND_LABEL = re.compile(r"{{(\w+)}}")
LABEL_VALUES = re.compile(r"label_values\((\w+), (\w+)\)")


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=[f"{title}-{each['refId']}" for title, each in QUERIES])
def test_query_asks_for_metrics_that_there_are(
    title: str, target: dict[str, Any], exported: dict[str, frozenset[str]]
) -> None:
    """Each expression parses, and every metric and label in it, and in its legend, is one that a scrape finds."""
    asked = asked_for(target["expr"])
    grouped = grouped_by(target["expr"])
    labels = frozenset[str]().union(*(exported.get(each.name, frozenset()) for each in asked))

    assert asked, title
    assert [] == [each.name for each in asked if each.name not in exported]
    assert [] == [each for each in asked if not each.labels <= exported[each.name]]
    assert grouped <= labels
    assert set(LEGEND_LABEL.findall(target["legendFormat"])) <= labels


def test_annotation_asks_for_metrics_that_there_are(exported: dict[str, frozenset[str]]) -> None:
    """What is drawn over the panels comes from the same metrics."""
    asked = [each for note in DASHBOARD["annotations"]["list"] for each in asked_for(note["expr"])]

    assert asked
    assert [] == [each.name for each in asked if each.name not in exported]


def test_variables_ask_for_labels_that_there_are(exported: dict[str, frozenset[str]]) -> None:
    """Each choice is filled from a metric that one process always exports."""
    variables = [each for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    found = [LABEL_VALUES.fullmatch(each["query"]["query"]) for each in variables]

    assert {"service", "daemon"} == {each["name"] for each in variables}
    assert [] == [each for each in found if each is None or each[2] not in exported[each[1]]]


def test_panels_have_their_own_place() -> None:
    """No two panels overlap, all fit into the width, and each has a number of its own."""
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]

    assert len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})
    assert [] == [place for place in places if place["x"] + place["w"] > COLUMNS]
    assert [] == [pair for pair in itertools.combinations(places, 2) if _overlap(*pair)]


def test_panels_say_what_they_show_in_which_unit() -> None:
    """Each panel has a title, a sentence, and a unit where it draws numbers; all read from the chosen source."""
    drawn = [panel for panel in PANELS if panel["type"] != "state-timeline"]

    assert [] == [panel["id"] for panel in PANELS if not panel["title"] or not panel["description"].endswith(".")]
    assert [] == [panel["title"] for panel in drawn if not panel["fieldConfig"]["defaults"]["unit"]]
    assert {"${datasource}"} == {target["datasource"]["uid"] for _, target in QUERIES}


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
