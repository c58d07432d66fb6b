"""The trials that a GPU has to stand, over a driver in host memory."""

import pytest
from structlog.testing import capture_logs

from benchmarks.survival import TRIALS, main


def test_every_trial_is_survived_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """Hogs, clients that vanish, moves under load, captures and faults: each is told in a line, and none failed."""
    with capture_logs():
        status = main(["--device", "cpu", "--rounds", "40"])
    told = capsys.readouterr().out.splitlines()

    assert (0, len(TRIALS)) == (status, len(told)), told
