"""The journal: what is written can be read back, and what cannot be written is in nobody's way."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from memory_daemon import journal_records as records
from memory_daemon.host_records import HostSampled
from memory_daemon.journal import Journal, journal_files, journal_path
from memory_daemon.journal_records import Entry, Record, RecordsLost, Sampled, Unreadable, read_journal
from memory_daemon.marks import GPU_POLICY, Mark
from memory_daemon.predictions import Ground, Prediction
from memory_daemon.types import (
    HOST,
    Freeze,
    ModuleName,
    Override,
    OverrideKind,
    PendingMove,
    Placement,
    Pressure,
    ResidencyReport,
    ServiceName,
    Tier,
    TierBytes,
    Urgency,
    Wish,
)
from tests.fakes.full_disk import FullDisk
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memory_views import SPEECH, used

M = ModuleName("m")
REPORT = ResidencyReport(
    unix_seconds=5.5,
    modules=(used("m", held=(TierBytes(tier=Tier.HOST, size_bytes=7),), restore_seconds=0.25),),
    budget_bytes=9,
    pending_moves=(PendingMove(module=M, tier=Tier.DISK, reason="leased"),),
)
WISH = Wish(placements=(Placement(module=M, tier=Tier.DISK, urgency=Urgency.WHEN_UNLEASED),), budget_bytes=3)
OVERRIDE = Override(service=SPEECH, module=M, kind=OverrideKind.PIN, expire_unix_seconds=99.0, set_by="me")
PREDICTION = Prediction(service=SPEECH, module=M, ground=Ground.TIME_OF_DAY, uses=3, until_unix_seconds=9.0, came=True)
EVERY_KIND: tuple[Record, ...] = (
    records.Started(
        holder_id="h",
        version="0.1.0",
        policy=replace(GPU_POLICY, low=Mark(percent=12.5)),
        floors_bytes={ServiceName("s"): 5},
    ),
    Sampled(device=HOST, pressure=Pressure.LOW, total_bytes=10, free_bytes=1),
    Sampled(device=HOST, pressure=Pressure.UNKNOWN, error="broken"),
    records.ServiceChanged(service=SPEECH, device=HOST, governed=True, reason="", epoch=3, instance_id="i"),
    records.Reported(service=SPEECH, device=HOST, report=REPORT),
    records.Demanded(service=SPEECH, uses={M: 4}, restore_waits=1, restore_wait_seconds=0.03),
    records.Directed(service=SPEECH, version=2, wish=WISH),
    records.Refused(service=SPEECH, version=2, reason="unknown module"),
    records.DecisionMade(device=HOST, pressure=Pressure.LOW, reason="low", evict=("speech/m",)),
    records.PolicyChanged(requested_by="me", revision=2, changes={"low": ("1.5 GB", "2.0 GB")}, policy=GPU_POLICY),
    records.OverrideChanged(change="set", requested_by="me", override=OVERRIDE),
    records.ProcessesSeen(device=HOST, used_bytes={"7": 100, "8": None}),
    records.DeviceEvent(device=HOST, event="xid", number=79),
    records.PredictionMade(device=HOST, prediction=PREDICTION),
    records.PredictionEnded(device=HOST, service=SPEECH, module=M, ground=Ground.TIME_OF_DAY, hit=True),
    records.FreezeChanged(change="set", requested_by="me", freeze=Freeze(start_unix_seconds=5.0, set_by="me")),
    HostSampled(total_bytes=100, free_bytes=7, some_percent=21.5, full_percent=None, short=True),
    RecordsLost(count=3, reason="No space left on device"),
)


def journal_in(folder: Path, *, size: int = 1 << 20, files: int = 3) -> Journal:
    """Return a journal at second 1,000 of a clock that stands still."""
    return Journal(folder=folder, size_maximum_bytes=size, files=files, unix_clock=ManualClock(1000.0))


def sampled(number: int) -> Sampled:
    """Return a record that can be told from others."""
    return Sampled(device=HOST, pressure=Pressure.ROOM, total_bytes=10**9, free_bytes=number)


def entries(folder: Path) -> list[Record | str]:
    """Return what a journal holds: records, and why lines are none."""
    found = read_journal(journal_files(folder))
    return [one.record if isinstance(one, Entry) else one.reason for one in found]


def test_records_of_every_kind_read_back_as_they_were_written(tmp_path: Path) -> None:
    """The journal can be replayed: every record comes back as the value that it was."""
    journal = journal_in(tmp_path)
    for record in EVERY_KIND:
        journal.write(record)
    actual = list(read_journal(journal_files(tmp_path)))

    assert [Entry(unix_seconds=1000.0, record=record) for record in EVERY_KIND] == actual
    assert {type(record) for record in EVERY_KIND} == set(records.Record.__args__)


def test_lines_of_the_journal_name_schema_time_and_kind_first(tmp_path: Path) -> None:
    """A line can be understood without this program."""
    journal_in(tmp_path).write(EVERY_KIND[1])
    expected = (
        '{"schema":1,"time":1000.0,"kind":"sample","device":"host","pressure":"low","total_bytes":10,'
        '"free_bytes":1,"error":"","lost":false,"confirms":false}\n'
    )

    assert expected == journal_path(tmp_path).read_text()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(b'{"schema":1,"time":1,"kind":"sam', "the line is cut off", id="cut off"),
        pytest.param(b"\xff\xfe\n", "no JSON record", id="garbage"),
        pytest.param(b"[1]\n", "no record of schema 1", id="no object"),
        pytest.param(b'{"schema":2,"time":1,"kind":"sample"}\n', "no record of schema 1", id="a newer schema"),
        pytest.param(b'{"schema":1,"time":1,"kind":"dream"}\n', "no known record", id="an unknown kind"),
        pytest.param(b'{"schema":1,"kind":"sample"}\n', "no JSON record", id="no time"),
        pytest.param(b'{"schema":1,"time":1,"kind":"sample","device":7}\n', "no known record", id="a wrong field"),
        pytest.param(b'{"schema":1,' + b" " * records.LINE_BYTES_MAXIMUM + b"\n", "the line is cut off", id="too long"),
    ],
)
def test_damaged_line_is_told_and_skipped(tmp_path: Path, line: bytes, expected: str) -> None:
    """Damage costs the damaged line and no other."""
    journal_in(tmp_path).write(sampled(1))
    whole = journal_path(tmp_path).read_bytes()
    journal_path(tmp_path).write_bytes(whole + line)
    found = list(read_journal([journal_path(tmp_path)]))

    assert sampled(1) == next(one.record for one in found if isinstance(one, Entry))
    assert any(isinstance(one, Unreadable) and one.line == 2 and expected in one.reason for one in found)


def test_field_of_a_later_release_is_ignored(tmp_path: Path) -> None:
    """Fields may be added within a schema."""
    journal_in(tmp_path).write(sampled(1))
    text = journal_path(tmp_path).read_text().replace('"error":""', '"error":"","mood":"good"')
    journal_path(tmp_path).write_text(text)

    assert [sampled(1)] == entries(tmp_path)


def test_journal_after_a_crash_begins_a_line_of_its_own(tmp_path: Path) -> None:
    """A line that a crash cut off does not spoil the next one."""
    journal_path(tmp_path).write_bytes(b'{"schema":1,"ti')
    journal_in(tmp_path).write(sampled(1))
    actual = entries(tmp_path)

    assert [sampled(1)] == actual[1:]
    assert "no JSON record" in str(actual[0])


def test_journal_rotates_by_size_and_keeps_a_bounded_number(tmp_path: Path) -> None:
    """Old records go, the newest ones stay in order, and no file is larger than it may be."""
    journal = journal_in(tmp_path, size=600, files=2)
    for number in range(30):
        journal.write(sampled(number))
    found = [record.free_bytes for record in entries(tmp_path) if isinstance(record, Sampled)]

    assert ["journal.2.jsonl", "journal.1.jsonl", "journal.jsonl"] == [path.name for path in journal_files(tmp_path)]
    assert list(range(30))[-len(found) :] == found
    assert all(path.stat().st_size <= 600 for path in journal_files(tmp_path))


def test_journal_that_is_begun_again_goes_on(tmp_path: Path) -> None:
    """A restart appends to what is there, and counts its size."""
    journal_in(tmp_path).write(sampled(1))
    again = journal_in(tmp_path, size=200)
    again.write(sampled(2))

    assert ([sampled(1), sampled(2)], 2) == (entries(tmp_path), len(journal_files(tmp_path)))


def test_full_disk_loses_records_tells_once_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that do not fit are counted; the first that fits again says how many, and no line is torn."""
    disk = FullDisk(170)
    monkeypatch.setattr(os, "write", disk)
    journal = journal_in(tmp_path)
    with capture_logs() as logs:
        for number in range(4):
            journal.write(sampled(number))
        disk.free_bytes = 10_000
        journal.write(sampled(4))
    actual = entries(tmp_path)

    assert [sampled(0), sampled(4)] == [record for record in actual if isinstance(record, Sampled)]
    assert [3] == [record.count for record in actual if isinstance(record, RecordsLost)]
    assert ["journal_not_written", "journal_resumed"] == [event["event"] for event in logs]


def test_journal_in_a_folder_that_cannot_be_is_in_nobodys_way(tmp_path: Path) -> None:
    """A file where the folder should be loses records, and nothing else."""
    (tmp_path / "journal").write_text("a file")
    journal = journal_in(tmp_path / "journal")
    with capture_logs() as logs:
        journal.write(sampled(1))
        journal.write(sampled(2))

    assert ["journal_not_written"] == [event["event"] for event in logs]


def test_journal_whose_folder_vanishes_makes_it_anew(tmp_path: Path) -> None:
    """A closed journal opens again where it was."""
    journal = journal_in(tmp_path / "journal")
    journal.write(sampled(1))
    journal.close()
    journal_path(tmp_path / "journal").unlink()
    (tmp_path / "journal").rmdir()
    journal.write(sampled(2))

    assert [sampled(2)] == entries(tmp_path / "journal")
