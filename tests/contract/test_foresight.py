"""What a real daemon process knows from before it started."""

import time
from pathlib import Path

import pytest

from greenroom.memory.v1 import policy_pb2
from memory_daemon.journal_records import line_of
from memory_daemon.prediction_records import PredictionEnded
from memory_daemon.predictions import Ground
from memory_daemon.types import HOST, ModuleName, ServiceName
from tests.fakes.daemon_process import DaemonProcess


@pytest.mark.parametrize("damage", [b"", b"\x00garbage\n{}\n"], ids=["whole", "damaged"])
def test_daemon_goes_on_counting_predictions_where_its_journal_ends(tmp_path: Path, *, damage: bytes) -> None:
    """Hits and misses of an earlier run are shown after a restart, whatever else stands in the journal."""
    ended = PredictionEnded(
        device=HOST, service=ServiceName("speech"), module=ModuleName("t3"), ground=Ground.TIME_OF_DAY, hit=True
    )
    journal = tmp_path / "state" / "journal"
    journal.mkdir(parents=True, mode=0o700)
    (tmp_path / "state").chmod(0o700)
    (journal / "journal.jsonl").write_bytes(damage + line_of(ended, time.time() - 3600.0) * 3)
    daemon = DaemonProcess(tmp_path, "--memory", "host")
    try:
        daemon.start()
        watch = daemon.stub.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=20)
        status = next(status for status in watch if status.predictions)
        watch.cancel()
    finally:
        daemon.close()

    assert [("lately_used", 0, 0), ("time_of_day", 3, 0)] == [
        (one.ground, one.hits, one.misses) for one in status.predictions
    ]
