"""Stories of admission, told in `scenarios/admission_*.txt`; REWRITE_SCENARIOS=1 writes down what was said."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.admission_story import AdmissionStory
from tests.fakes.daemon_story import parse, written

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("admission_*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario_told_to_the_door_says_what_is_written(path: Path) -> None:
    """A story that is told to the door goes as its file says."""
    story = AdmissionStory()
    blocks = parse(path.read_text())
    actual = written([replace(block, expected=story.tell(block.commands)) for block in blocks])
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(actual)

    assert path.read_text() == actual


def test_scenarios_are_all_there() -> None:
    """Every side of admission has its story."""
    expected = {"full_then_free", "queue", "deadlines_and_clients", "late_and_beginning", "number_is_full"}

    assert expected == {path.stem.removeprefix("admission_") for path in SCENARIOS}
