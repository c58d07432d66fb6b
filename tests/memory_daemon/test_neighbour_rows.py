"""What the proof on a GPU says of what it has seen, and that nothing seen is nothing shown."""

import mmap
from pathlib import Path

import pytest

from benchmarks.neighbour_rows import rows_of
from tests.fakes.driver_traces import driver_traces, holds_context

QUIET = {"utterances": 0, "underruns": 0, "errors": []}
HEARD = {"utterances": 3, "underruns": 0, "errors": []}


@pytest.mark.parametrize(
    ("opened", "bare", "expected"),
    [
        pytest.param([], [], False, id="nothing"),
        pytest.param(["/dev/nvidia0", "/dev/nvidiactl"], ["/dev/nvidia0", "/dev/nvidiactl"], False, id="NVML alone"),
        pytest.param(["/dev/nvidia-uvm", "/dev/nvidia0"], ["/dev/nvidia0"], True, id="a context"),
        pytest.param(["/dev/nvidia-uvm"], ["/dev/nvidia-uvm"], False, id="a driver whose NVML opens it too"),
    ],
)
def test_context_is_told_by_the_device_that_it_needs(opened: list[str], bare: list[str], *, expected: bool) -> None:
    """A mapped library makes no context, and what a process has that only begins NVML is NVML's."""
    mapped = ["/usr/lib/libcuda.so.580"]

    assert expected == holds_context({"open": opened, "mapped": mapped}, {"open": bare, "mapped": mapped})


def test_mapped_driver_is_seen(tmp_path: Path) -> None:
    """A file of CUDA that a process has mapped is told by its path."""
    library = tmp_path / "libcuda.so.1"
    library.write_bytes(b"driver")
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        inside = driver_traces("self")["mapped"]

    assert (True, False) == (str(library) in inside, str(library) in driver_traces("self")["mapped"])


@pytest.mark.parametrize(
    ("kept", "gave_way", "missed"),
    [
        pytest.param(HEARD, HEARD, set(), id="as it should be"),
        pytest.param(QUIET, HEARD, {"utterances_kept"}, id="nobody heard while speech had all"),
        pytest.param(HEARD, QUIET, {"utterances_gave_way"}, id="nobody heard while speech gave way"),
        pytest.param(HEARD | {"underruns": 1}, HEARD | {"underruns": 9}, {"underruns_kept"}, id="underruns"),
        pytest.param(
            HEARD | {"errors": ["a"]}, HEARD | {"errors": ["b"]}, {"failed_kept", "failed_gave_way"}, id="errors"
        ),
    ],
)
def test_rows_are_missed_where_nobody_was_heard(
    kept: dict[str, object], gave_way: dict[str, object], missed: set[str]
) -> None:
    """Speech that has what it needs is as ever; where it gives way it may wait, and may not fail."""
    plan = {"period_seconds": 0.1, "grace_seconds": 1.0, "step_bytes": 1}
    rounds = [{"kind": kind, "stayed": True, "home_seconds": 0.0} for kind in ("low", "spare", "march")]
    neighbour = {"plan": plan, "rounds": rounds, "steps": [], "reactions": []}
    rows = rows_of({"neighbour": neighbour | {"heard": {"kept": kept, "gave_way": gave_way}}})

    assert missed == {name for name, row in rows.items() if not row.is_met}
