"""The alert rules and the scrape configuration: valid, tested, and about metrics that there are."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from memory_daemon.config import DaemonConfig
from tests.fakes.promql import asked_for, grouped_by
from tts_service.config import ServiceConfig

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
RULES = FOLDER / "greenroom_rules.yml"
RULES_TEST = FOLDER / "greenroom_rules_test.yml"
PROMETHEUS = FOLDER / "prometheus.yml"
FETCHED = FOLDER.parents[1] / ".build" / "checkers" / "usr" / "bin"
DURATION = re.compile(r"\d+[smh]")
LABEL_OF_TEXT = re.compile(r"\$labels\.(\w+)")


def alerts() -> list[dict[str, Any]]:
    """Return every alert."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def named(rule: dict[str, Any]) -> str:
    """Return an alert as it is known."""
    return str(rule["alert"])


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Prometheus' own checker, where there is one: installed, or fetched by `make checkers`."""
    found = shutil.which("promtool") or shutil.which("promtool", path=FETCHED)
    if found is None:
        pytest.skip("there is no promtool (make checkers); the parser has checked the expressions")
    return subprocess.run([found, *words], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("rule", alerts(), ids=named)
def test_alert_asks_for_metrics_that_there_are(rule: dict[str, Any], exported: dict[str, frozenset[str]]) -> None:
    """Each expression parses, and every metric and label in it is one that a scrape finds."""
    asked = asked_for(rule["expr"])
    labels = frozenset[str]().union(*(exported.get(each.name, frozenset()) for each in asked))

    assert asked
    assert [] == [each.name for each in asked if each.name not in exported]
    assert [] == [each for each in asked if not each.labels <= exported[each.name]]
    assert grouped_by(rule["expr"]) <= labels


@pytest.mark.parametrize("rule", alerts(), ids=named)
def test_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any], exported: dict[str, frozenset[str]]) -> None:
    """Each has a severity and two texts, and the texts use labels that survive the expression."""
    texts = rule["annotations"]
    used = set(LABEL_OF_TEXT.findall("".join(texts.values())))
    kept = grouped_by(rule["expr"]) or frozenset[str]().union(
        *(exported[each.name] for each in asked_for(rule["expr"]))
    )

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "description"} == set(texts)
    assert DURATION.fullmatch(rule.get("for", "1m"))
    assert used <= kept


def test_alert_names_are_unique_and_each_is_tested() -> None:
    """The rule tests expect every alert once."""
    names = [named(rule) for rule in alerts()]
    tested = re.findall(r'\{alertname="(\w+)"\}', RULES_TEST.read_text())

    assert len(names) == len(set(names))
    assert sorted(names) == sorted(tested)


def test_scrape_configuration_names_the_default_addresses() -> None:
    """Who changes neither the processes nor the file finds both, by the jobs that alerts know them by."""
    loaded = yaml.safe_load(PROMETHEUS.read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in loaded["scrape_configs"]}

    assert {
        "greenroom-service": [ServiceConfig().metrics.address],
        "greenroom-daemon": [DaemonConfig().metrics.address],
    } == targets
    assert [RULES.name] == loaded["rule_files"]


def test_promtool_accepts_configuration_and_rules() -> None:
    """Prometheus' own checker finds nothing."""
    checked = promtool("check", "config", PROMETHEUS.name)

    assert 0 == checked.returncode, checked.stdout + checked.stderr


def test_promtool_finds_that_alerts_fire_when_they_should() -> None:
    """All that can go wrong does, and every alert fires; all is well, and none does."""
    checked = promtool("test", "rules", RULES_TEST.name)

    assert 0 == checked.returncode, checked.stdout + checked.stderr
