"""`memctl explain`, `history`, `undo`, `freeze` and `thaw`, against the daemon's own PolicyService."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from memory_daemon.journal import Journal
from memory_daemon.types import Decided, ModuleName, Placement, Tier, Wish
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memctl_desk import Answer
from tests.fakes.memctl_desk import Desk as Terminal
from tests.fakes.memctl_desk import desk as open_terminal
from tests.fakes.memory_views import SPEECH
from tests.fakes.policy_desk import Desk

VOICE = ModuleName("voice")
DECIDED = Decided(unix_seconds=990.0, service=SPEECH, version=3, reason="memory is low", evict=(VOICE,), dry_run=True)


class Both:
    """A terminal, and the real service behind its socket."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.daemon = Desk(terminal.folder)

    def type(self, *words: str) -> Answer:
        """Type a command; what the daemon would publish on its next tick is published."""
        answer = self.terminal.type(*words, columns=160)
        daemon = self.daemon
        daemon.board.publish(
            replace(daemon.board.status, kept=daemon.policies.current, freeze=daemon.overrides.freeze())
        )
        return answer

    def write_journal(self) -> None:
        """Write what was noted into the journal, as the daemon does at once."""
        journal = Journal(
            folder=self.terminal.folder / "journal",
            size_maximum_bytes=10**6,
            files=1,
            unix_clock=ManualClock(1_700_000_000.0),
        )
        for record in self.daemon.records:
            journal.write(record)
        journal.close()


@pytest.fixture
def both() -> Iterator[Both]:
    """Give a terminal and a daemon; its service is `speech`, with one module."""
    with open_terminal() as terminal:
        found = Both(terminal)
        yield found
        found.daemon.close()


def test_explain_tells_why_a_module_is_where_it_is(both: Both) -> None:
    """A paragraph for the module, one for the directive, and the rehearsal is not hidden."""
    wish = Wish(placements=(Placement(module=VOICE, tier=Tier.DISK),))
    both.daemon.board.publish(replace(both.daemon.first, wishes={SPEECH: wish}, decisions=(DECIDED,)))
    answer = both.type("explain", "voice", "--service", "speech")
    lines = answer.out.splitlines()

    assert (0, "voice  in host, wanted in disk by the policy") == (answer.exit_code, lines[0])
    assert "  The policy wants it in DISK." in lines
    assert any(
        line.startswith("  The newest decision about it was 10 s ago (dry run, nothing was sent)") for line in lines
    )
    assert "last directive" in lines


def test_explain_as_json_has_values_and_sentences(both: Both) -> None:
    """Scripts get who wants what where, beside the words."""
    told = both.type("explain", "--service", "speech", "--json").document

    assert {"service", "dry_run", "freeze", "explanation"} == set(told)
    assert ("voice", "host", "auto", "nobody") == tuple(
        told["explanation"]["modules"][0][key] for key in ("module", "tier", "wanted", "cause")
    )


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        pytest.param(["explain", "voic", "--service", "speech"], "Did you mean 'voice'?", id="module"),
        pytest.param(["explain", "--service", "spech"], "Did you mean 'speech'?", id="service"),
    ],
)
def test_explain_of_what_is_not_there_says_what_is(both: Both, words: list[str], way_out: str) -> None:
    """A name that was mistyped is guessed."""
    answer = both.type(*words)

    assert (1, True) == (answer.exit_code, way_out in answer.err)


def test_undo_takes_the_newest_change_back(both: Both) -> None:
    """The answer shows what went back, `get` and `undo --list` show what is left."""
    both.type("set", "grace=3s", "--by", "ann")
    both.type("set", "grace=4s", "--by", "bob")
    listed = both.type("undo", "--list").out
    answer = both.type("undo", "--by", "cid")

    assert ["2", "1"] == [line.split()[0] for line in listed.splitlines()[1:]]
    assert ["grace", "4s", "->", "3s"] in [line.split() for line in answer.out.splitlines()]
    assert (3.0, "cid") == (
        both.daemon.policies.current.policy.grace_seconds,
        both.daemon.policies.current.updated_by,
    )


def test_undo_that_is_tried_or_not_possible_changes_nothing(both: Both) -> None:
    """A trial says so; without a change there is nothing to undo, and the way out is said."""
    nothing = both.type("undo", "--json")
    both.type("set", "grace=3s")
    tried = both.type("undo", "--validate-only")
    wrong = both.type("undo", "--to", "7")

    assert ("NOTHING_TO_UNDO", True) == (nothing.error["reason"], "memctl set" in nothing.error["way_out"])
    assert ("Nothing was changed" in tried.out, 1, True) == (True, wrong.exit_code, "undo --list" in wrong.err)
    assert 3.0 == both.daemon.policies.current.policy.grace_seconds


def test_freeze_is_shown_everywhere_until_it_is_thawed(both: Both) -> None:
    """Every command that an operator looks at says that nothing moves."""
    answer = both.type("freeze", "--for", "10m", "--by", "ann")
    shown = {
        words: both.type(*words.split()).out
        for words in (
            "get",
            "get status",
            "top --once",
            "watch --count 1",
            "services",
            "history",
            "explain --service speech",
        )
    }
    thawed = both.type("thaw")

    assert (0, True) == (answer.exit_code, "set by ann" in answer.out)
    assert [] == [words for words, out in shown.items() if "frozen" not in out.casefold()]
    assert ("Thawed" in thawed.out, "frozen" in both.type("get").out) == (True, False)


def test_dry_run_is_shown_everywhere(both: Both) -> None:
    """Nobody mistakes a rehearsal for the real thing."""
    both.type("set", "dry_run=true")
    commands = (
        "get",
        "get status",
        "top --once",
        "watch --count 1",
        "services",
        "history",
        "thaw",
        "explain --service speech",
        "pin voice --service speech",
        "release voice --service speech",
    )
    silent = [
        words
        for words in commands
        if not {"dry run", "only rehearses"}
        & {word for word in ("dry run", "only rehearses") if word in both.type(*words.split()).out.casefold()}
    ]

    assert [] == silent


def test_freeze_for_too_long_is_refused_with_the_bounds(both: Both) -> None:
    """The way out names what is allowed."""
    answer = both.type("freeze", "--for", "60d")

    assert (1, True) == (answer.exit_code, "from 1s to 30d" in answer.err)


def test_history_tells_who_changed_what(both: Both) -> None:
    """The audit: who, when, from what to what; of one kind if that is asked for."""
    both.type("set", "grace=3s", "--by", "ann")
    both.type("undo", "--by", "bob")
    both.type("pin", "voice", "--service", "speech", "--by", "ann")
    both.write_journal()
    answer = both.type("history", "--kind", "policy")
    told = both.type("history", "voice", "--json").document

    assert ["3s -> 1s", "1s -> 3s"] == [line.partition(": grace ")[2].strip() for line in answer.out.splitlines()[1:]]
    assert ["bob", "ann"] == [line.split()[3] for line in answer.out.splitlines()[1:]]
    assert [("override", "ann", "override pin of speech/voice set")] == [
        (event["kind"], event["requested_by"], event["words"]) for event in told["events"]
    ]


def test_history_that_is_cut_says_that_there_is_more(both: Both) -> None:
    """A count that was reached does not look like the beginning of time."""
    for seconds in (2, 3, 4):
        both.type("set", f"grace={seconds}s")
    both.write_journal()

    assert "There is more" in both.type("history", "--count", "2").out
    assert "There is more" not in both.type("history").out


@pytest.mark.parametrize(
    "words", [["history", "--since", "soon"], ["history", "--kind", "gossip"], ["freeze", "--for", "x"]]
)
def test_nonsense_is_wrong_usage(both: Both, words: list[str]) -> None:
    """What cannot be read is refused before anything is asked."""
    assert 2 == both.type(*words).exit_code


def test_simulation_without_a_trace_is_the_daemons(both: Both, tmp_path: Path) -> None:
    """The daemon replays its own journal under a profile and a file's numbers, and the table is the same."""
    story = Path(__file__).parent.parent / "memory_daemon" / "traces" / "gpu_lost.jsonl"
    journal = both.terminal.folder / "journal"
    journal.mkdir()
    (journal / "journal.jsonl").write_bytes(story.read_bytes())
    mine = tmp_path / "my own.toml"
    mine.write_text('[policy]\nlow = "4GB"\nhigh = "6GB"\ngrace_seconds = 2\n')
    answer = both.type("simulate", "--policy", "neighbour-first", "--policy", str(mine))

    assert (0, "") == (answer.exit_code, answer.err)
    assert ["recorded", "in", "neighbour-first", "my-own"] == [line.split()[0] for line in answer.out.splitlines()[2:]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[policy]\nlwo = 3", "there is no number 'lwo'. Did you mean 'low'?", id="a misspelt number"),
        pytest.param("[policy]\nlow = true", "True is no number", id="a switch for a mark"),
        pytest.param("[policy]\ndry_run = 1", "neither true nor false", id="a number for a switch"),
        pytest.param("[policy", "is no TOML", id="no TOML"),
        pytest.param("policy = 3", "is no table", id="no table"),
        pytest.param('low = "3GB"', "has no table [policy]", id="numbers in no table"),
        pytest.param('profile = "latency"', "no policy 'latency' ships", id="a misspelt profile"),
    ],
)
def test_policy_file_that_cannot_be_used_says_why(both: Both, tmp_path: Path, text: str, expected: str) -> None:
    """Nothing is sent before the file has been understood."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    error = both.type("simulate", "--policy", str(path), "--json").error

    assert ("BAD_POLICY_FILE", True) == (error["reason"], expected in error["message"])
