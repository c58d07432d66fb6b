"""The journal read backwards, and its records in words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memory_daemon.history import BLOCK_BYTES, Kind, Question, history, lines_back
from memory_daemon.journal import Journal, journal_files
from memory_daemon.journal_records import (
    Basis,
    DecisionMade,
    DeviceEvent,
    Directed,
    FreezeChanged,
    OverrideChanged,
    PolicyChanged,
    Record,
    RecordsLost,
    Refused,
    Sampled,
    ServiceChanged,
    Started,
)
from memory_daemon.marks import HOST_POLICY
from memory_daemon.orders import DeviceState
from memory_daemon.types import (
    HOST,
    Freeze,
    ModuleName,
    Override,
    OverrideKind,
    Placement,
    Pressure,
    Tier,
    Wish,
)
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memory_views import SPEECH, seen, service, used

VOICE = ModuleName("voice")
SAMPLE = Sampled(device=HOST, pressure=Pressure.ROOM, total_bytes=10, free_bytes=5)
WISH = Wish(placements=(Placement(module=VOICE, tier=Tier.DISK),), budget_bytes=10**9)
BASIS = Basis(state=DeviceState(), seen=seen(service(used("voice"))), policy=HOST_POLICY)
DECISION = DecisionMade(
    device=HOST, pressure=Pressure.LOW, reason="memory is low", evict=("speech/voice",), basis=BASIS
)
RECORDS: list[Record] = [
    Started(holder_id="box", version="1.2", policy=HOST_POLICY),
    SAMPLE,
    ServiceChanged(service=SPEECH, device=HOST, governed=True, reason="", epoch=3, instance_id="one"),
    DECISION,
    Directed(service=SPEECH, version=4, wish=WISH, sent=False, reason="memory is low"),
    Refused(service=SPEECH, version=4, reason="unknown module"),
    PolicyChanged(requested_by="ann", revision=2, changes={"grace_seconds": ("1.0", "2.0")}, policy=HOST_POLICY),
    OverrideChanged(
        change="set", requested_by="ann", override=Override(service=SPEECH, module=VOICE, kind=OverrideKind.PIN)
    ),
    FreezeChanged(change="expired", requested_by="bob", freeze=Freeze(start_unix_seconds=1.0)),
    DeviceEvent(device=HOST, event="xid", number=79),
    RecordsLost(count=3, reason="disk full"),
    PolicyChanged(
        requested_by="ann", revision=3, changes={"grace_seconds": ("2.0", "1.0")}, policy=HOST_POLICY, undo=True
    ),
]


def journal(folder: Path, records: list[Record], *, size_maximum_bytes: int = 10**9) -> list[Path]:
    """Write records a second apart from second 101 on, and return the journal's files."""
    clock = ManualClock(100.0)
    written = Journal(folder=folder, size_maximum_bytes=size_maximum_bytes, files=99, unix_clock=clock)
    for record in records:
        clock.advance(1.0)
        written.write(record)
    written.close()
    return journal_files(folder)


def words(paths: list[Path], question: Question | None = None) -> list[str]:
    """Return what is told, in words."""
    return [one.words for one in history(paths, question or Question(events_maximum=100))[0]]


def test_history_tells_every_change_and_decision_newest_first(tmp_path: Path) -> None:
    """Everything but what only a simulation needs is told in a sentence."""
    assert [
        "policy taken back: grace_seconds 2.0 -> 1.0",
        "3 records were lost: disk full",
        "xid 79",
        "freeze ran out",
        "override pin of speech/voice set",
        "policy changed: grace_seconds 1.0 -> 2.0",
        "speech refused directive 4: unknown module",
        "wants voice in DISK, at most 954 MiB: memory is low",
        "memory is low",
        "speech is governed, epoch 3",
        "daemon 1.2 began as box",
    ] == words(journal(tmp_path, RECORDS))


def test_history_carries_values_beside_its_words(tmp_path: Path) -> None:
    """Who asked, which modules moved, which numbers changed, and whether it was only rehearsed."""
    told = {one.kind: one for one in history(journal(tmp_path, RECORDS[:-1]), Question(events_maximum=100))[0]}

    assert ("ann", {"grace_seconds": ("1.0", "2.0")}, 2) == (
        told[Kind.POLICY].requested_by,
        told[Kind.POLICY].numbers,
        told[Kind.POLICY].version,
    )
    assert (("speech/voice",), True, 104.0) == (
        told[Kind.DECISION].evict,
        told[Kind.DIRECTIVE].dry_run,
        told[Kind.DECISION].unix_seconds,
    )


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(Question(events_maximum=9, kinds=frozenset({Kind.DEVICE})), 1, id="a kind"),
        pytest.param(Question(events_maximum=9, module="voice"), 3, id="a module"),
        pytest.param(Question(events_maximum=9, module="detector"), 0, id="another module"),
        pytest.param(Question(events_maximum=9, service="speech"), 5, id="a service"),
        pytest.param(Question(events_maximum=9, service="other"), 0, id="another service"),
        pytest.param(Question(events_maximum=99, start_unix_seconds=110.0), 3, id="a time"),
        pytest.param(Question(events_maximum=2), 2, id="a count"),
    ],
)
def test_history_tells_what_was_asked(tmp_path: Path, question: Question, expected: int) -> None:
    """Each condition leaves out what it does not fit."""
    assert expected == len(words(journal(tmp_path, RECORDS), question))


@pytest.mark.parametrize(
    ("decision", "question"),
    [
        pytest.param({"to_disk": ("speech/t3",)}, Question(events_maximum=9, module="t3"), id="a module sent to disk"),
        pytest.param({"to_host": ("speech/t3",)}, Question(events_maximum=9, module="t3"), id="one brought back"),
        pytest.param({"trim": ("speech",)}, Question(events_maximum=9, service="speech"), id="an allocator's cache"),
    ],
)
def test_history_finds_decisions_that_are_no_evictions(
    tmp_path: Path, decision: dict[str, Any], question: Question
) -> None:
    """What moves between host memory and disk, and what is asked of allocators, has a name as well."""
    record = DecisionMade(device=HOST, pressure=Pressure.LOW, reason="memory is low", **decision)
    other = replace(question, service="other", module="")

    paths = journal(tmp_path, [record])

    assert (["memory is low"], []) == (words(paths, question), words(paths, other))


def test_history_says_when_there_is_more(tmp_path: Path) -> None:
    """A count that was reached is told apart from an end."""
    paths = journal(tmp_path, RECORDS)

    assert [True, False] == [history(paths, Question(events_maximum=count))[1] for count in (10, 11)]


def test_history_goes_on_over_old_files(tmp_path: Path) -> None:
    """A journal that was cut into files is told as one."""
    paths = journal(tmp_path, RECORDS * 3, size_maximum_bytes=4_096)

    assert (True, 33) == (len(paths) > 2, len(words(paths)))


def test_history_passes_over_what_is_damaged(tmp_path: Path) -> None:
    """Torn lines, other schemas and things that are no records cost only themselves."""
    paths = journal(tmp_path, RECORDS[:4])
    with paths[0].open("ab") as file:
        file.write(b'{"schema":1,"time":1,"kind":"policy"\n{"schema":2,"time":1,"kind":"started"}\n')
        file.write(b'["kind":"policy"]\n\xff\x00\n{"schema":1,"time":9,"kind":"lost","cou')

    assert ["memory is low", "speech is governed, epoch 3", "daemon 1.2 began as box"] == words(paths)


def test_history_of_no_journal_is_empty(tmp_path: Path) -> None:
    """A daemon whose journal is gone answers all the same."""
    assert ((), False) == history([tmp_path / "gone.jsonl"], Question(events_maximum=5))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.binary(max_size=12), max_size=12), block_bytes=st.integers(1, 40))
def test_lines_come_back_from_the_end_whole(tmp_path: Path, lines: list[bytes], block_bytes: int) -> None:
    """Whatever the lines are and wherever blocks end, they come as they are in the opposite order."""
    path = tmp_path / "file"
    path.write_bytes(b"\n".join(lines))
    expected = list(reversed(path.read_bytes().split(b"\n")))

    assert expected == list(lines_back(path, block_bytes))


def test_line_longer_than_a_block_comes_whole(tmp_path: Path) -> None:
    """A block's border within a line does not cut it."""
    path = tmp_path / "file"
    path.write_bytes(b"first\n" + b"x" * (2 * BLOCK_BYTES) + b"\nlast\n")

    assert [b"", b"last", b"x" * (2 * BLOCK_BYTES), b"first"] == list(lines_back(path))


def test_decision_is_read_without_what_it_was_made_from(tmp_path: Path) -> None:
    """The basis is most of a decision's record, and a newer daemon's need not be understood."""
    paths = journal(tmp_path, [replace(DECISION, reason="with a basis")])
    text = paths[0].read_text().replace('"seen":', '"what":')
    paths[0].write_text(text)

    assert ["with a basis"] == words(paths)
