"""Stories of the daemon, told in `scenarios/*.txt`; REWRITE_SCENARIOS=1 writes down what was said."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.daemon_story import Story, parse, written

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario_told_says_what_is_written(path: Path, tmp_path: Path) -> None:
    """A story that is told to the real loop goes as its file says."""
    story = Story(tmp_path)
    blocks = parse(path.read_text())
    actual = written([replace(block, expected=story.tell(block)) for block in blocks])
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(actual)

    assert path.read_text() == actual


def test_scenarios_of_the_issue_are_all_there() -> None:
    """Every story that was asked for has its file."""
    expected = {
        "critical_with_claims",
        "directive_refused",
        "gpu_lost",
        "override_over_policy",
        "service_restarts",
        "slow_leak_then_recovery",
        "spike",
        "square_wave",
    }

    assert expected <= {path.stem for path in SCENARIOS}
