"""A journal can be replayed: what a decision was made from, fed back to `decide`, makes the same decision again."""

from dataclasses import replace
from pathlib import Path

import pytest

from memory_daemon.journal import Journal, journal_files
from memory_daemon.journal_records import DecisionMade, Entry, Record, Sampled, read_journal
from memory_daemon.marks import Mark
from memory_daemon.policy import decide
from memory_daemon.recorder import decision_record
from memory_daemon.types import MemorySample
from tests.fakes.daemon_story import Story, parse
from tests.fakes.manual_clock import ManualClock

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


def read_back(path: Path, folder: Path) -> list[Record]:
    """Tell a story, write its journal to disk as the daemon does, and return what is read from there."""
    story = Story(folder)
    for block in parse(path.read_text()):
        story.tell(block)
    journal = Journal(
        folder=folder / "journal", size_maximum_bytes=1 << 24, files=1, unix_clock=ManualClock(1_700_000_000.0)
    )
    for record in story.world.records:
        journal.write(record)
    journal.close()
    entries = list(read_journal(journal_files(folder / "journal")))
    assert all(isinstance(entry, Entry) for entry in entries)
    return [entry.record for entry in entries if isinstance(entry, Entry)]


def replayed(record: DecisionMade) -> DecisionMade:
    """Decide again on what a record says."""
    assert record.basis is not None
    _, decision = decide(record.basis.state, record.basis.seen, record.basis.policy)
    return decision_record(record.basis, decision)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_journal_of_a_scenario_replayed_makes_the_same_decisions(path: Path, tmp_path: Path) -> None:
    """Every decision of every story comes out again from its own record: pressure, reason, who leaves and who comes."""
    decisions = [record for record in read_back(path, tmp_path) if isinstance(record, DecisionMade)]
    again = [replayed(record) for record in decisions]

    assert decisions
    assert decisions == again


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_journal_of_a_scenario_holds_the_readings_that_led_to_a_move(path: Path, tmp_path: Path) -> None:
    """Right before a decision that moves something stand the reading that asked for it and its confirmation."""
    records = [record for record in read_back(path, tmp_path) if isinstance(record, DecisionMade | Sampled)]
    moving = [
        (record, records[place - 2 : place])
        for place, record in enumerate(records)
        if isinstance(record, DecisionMade) and (record.evict or record.restore)
    ]
    confirmations = [[getattr(sample, "confirms", None) for sample in before] for _, before in moving]
    readings = [(record.basis, before[-1]) for record, before in moving]

    assert [[False, True]] * len(moving) == confirmations
    assert all(
        basis is not None
        and isinstance(basis.seen.sample, MemorySample)
        and isinstance(sample, Sampled)
        and basis.seen.sample.free_bytes == sample.free_bytes
        for basis, sample in readings
    )


def test_journal_replayed_with_another_policy_decides_otherwise(tmp_path: Path) -> None:
    """A record is enough to try other numbers on: with marks far below what was free, nothing would have left."""
    path = next(path for path in SCENARIOS if path.stem == "spike")
    moving = next(record for record in read_back(path, tmp_path) if isinstance(record, DecisionMade) and record.evict)
    assert moving.basis is not None
    least = Mark(size_bytes=1)
    tolerant = replace(moving.basis.policy, critical=least, low=least, high=least)
    other = replace(moving, basis=replace(moving.basis, policy=tolerant))

    assert ((), moving.evict) == (replayed(other).evict, replayed(moving).evict)
