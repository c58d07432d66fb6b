"""`memctl simulate` and `memctl record`: a rehearsal without a daemon, and a trace from a running one."""

from pathlib import Path

import pytest

from memctl.errors import MemctlError
from memctl.simulator import simulated
from memory_daemon.journal_records import Entry, Unreadable, read_journal
from memory_daemon.simulation_trace import traces_of
from tests.fakes.memctl_desk import desk

STORY = Path(__file__).parent.parent / "memory_daemon" / "traces" / "gpu_lost.jsonl"


def test_simulation_shows_every_policy_in_a_row() -> None:
    """What was, the policy in force and the profile that is tried stand beside each other."""
    with desk() as found:
        answer = found.type("simulate", "--policy", "neighbour-first", str(STORY), columns=160)
    first_words = [line.split()[0] for line in answer.out.splitlines()]

    assert 0 == answer.exit_code
    assert ["GPU-0:", "POLICY", "recorded", "in", "neighbour-first"] == first_words


def test_simulation_on_a_narrow_terminal_has_a_policy_a_column() -> None:
    """Nothing is cut off: what does not fit beside the others stands in a block of its own."""
    with desk() as found:
        answer = found.type("simulate", "--policy", "neighbour-first", "--rivals", str(STORY), columns=80)
    heads = [word for line in answer.out.splitlines() if line.startswith("POLICY") for word in line.split()]

    assert "…" not in answer.out
    assert {"recorded", "neighbour-first", "none", "threshold", "everything"} <= set(heads)
    assert max(map(len, answer.out.splitlines())) <= 80


def test_simulation_as_json_tells_outcomes_and_points() -> None:
    """Scripts get every number, and memory over time."""
    with desk() as found:
        answer = found.type("--json", "simulate", "--rivals", str(STORY))
    (device,) = answer.document["devices"]

    assert 6 == len(device["outcomes"])
    assert {"below_critical_seconds", "waits", "sent_away", "points"} <= device["outcomes"][1].keys()


def test_simulation_draws_a_picture(tmp_path: Path) -> None:
    """The plot is a file of the kind that its name says."""
    picture = tmp_path / "rehearsal.png"
    with desk() as found:
        answer = found.type("simulate", "--plot", str(picture), str(STORY))

    assert (0, b"\x89PNG") == (answer.exit_code, picture.read_bytes()[:4])


@pytest.mark.parametrize(
    ("words", "reason", "expected"),
    [
        pytest.param(
            ["--policy", "bold", str(STORY)], "BAD_POLICY_FILE", "no policy of that name", id="no such policy"
        ),
        pytest.param(["/nowhere/trace.jsonl"], "SIMULATION_FAILED", "cannot be read", id="no such trace"),
        pytest.param([__file__], "SIMULATION_FAILED", "no reading of memory", id="no trace at all"),
    ],
)
def test_simulation_that_cannot_be_made_says_why(words: list[str], reason: str, expected: str) -> None:
    """What the simulation complains of reaches the operator."""
    with desk() as found:
        answer = found.type("--json", "simulate", *words)

    assert (1, reason) == (answer.exit_code, answer.error["reason"])
    assert expected in answer.error["message"]


def test_simulation_by_a_program_of_another_version_says_so() -> None:
    """An answer in another form is not taken for a result."""
    with pytest.raises(MemctlError, match="answer cannot be read"):
        simulated([STORY], [], with_rivals=False, program="this")


def test_record_writes_a_trace_that_can_be_replayed(tmp_path: Path) -> None:
    """Every line is of the journal's own form, and together they make a trace."""
    trace = tmp_path / "trace.jsonl"
    with desk() as found:
        found.serve_daemon()
        answer = found.type("record", str(trace), "--count", "1")
    entries = list(read_journal([trace]))
    readable = [entry for entry in entries if isinstance(entry, Entry)]

    assert 0 == answer.exit_code
    assert [] == [entry for entry in entries if isinstance(entry, Unreadable)]
    assert traces_of(readable)


def test_record_into_a_file_that_exists_is_refused(tmp_path: Path) -> None:
    """A trace is never written over."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text("")
    with desk() as found:
        found.serve_daemon()
        answer = found.type("--json", "record", str(trace), "--count", "1")

    assert (1, "TRACE_NOT_WRITTEN") == (answer.exit_code, answer.error["reason"])
