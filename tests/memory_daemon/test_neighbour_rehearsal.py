"""The proof that a GPU has to give of the daemon, rehearsed to its end where the GPU is only booked."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.neighbour import main

# What depends on how busy this machine is.
REACTIONS = {f"reaction_{pressure}_{figure}" for pressure in ("critical", "low") for figure in ("worst_ms", "unseen")}
CHANCES = {"reading_ms", "daemon_core_percent"} | REACTIONS


def test_neighbour_that_takes_memory_in_steps_never_fails_while_something_can_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Allocations succeed while speech can be spared, which is heard as ever, and all modules come home in the end."""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    out = tmp_path / "neighbour.json"
    main(["--device", "cpu", "--rounds", "1", "--grace-seconds", "0.3", "--idle-seconds", "1", "--out", str(out)])
    told = capsys.readouterr().out
    kept = json.loads(out.read_text())
    rows = kept["rows"]
    missed = {name for name, row in rows.items() if row.get("most", row["value"]) < row["value"]}
    missed |= {name for name, row in rows.items() if row.get("least", row["value"]) > row["value"]}
    parts = {step["part"] for step in kept["neighbour"]["steps"]}

    assert {"fill", "low", "idle", "speech"} == parts, told
    assert set() == missed - CHANCES, told
    assert min(rows[name]["value"] for name in ("utterances_kept", "utterances_gave_way")) > 0
    assert ["low", "spare", "march"] == [each["kind"] for each in kept["neighbour"]["rounds"]]
    assert {"critical", "low"} == {each["pressure"] for each in kept["neighbour"]["reactions"]}, told
    assert out.with_suffix(".png").exists()
