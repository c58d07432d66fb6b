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
    """Every allocation succeeds while speech can be spared, speech goes on, and all modules come home in the end."""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    out = tmp_path / "neighbour.json"
    main(["--device", "cpu", "--rounds", "1", "--grace-seconds", "0.3", "--idle-seconds", "1", "--out", str(out)])
    told = capsys.readouterr().out
    kept = json.loads(out.read_text())
    missed = {name for name, row in kept["rows"].items() if "most" in row and row["value"] > row["most"]}
    parts = {step["part"] for step in kept["neighbour"]["steps"]}

    assert {"fill", "low", "idle", "speech"} == parts, told
    assert set() == missed - CHANCES, told
    assert ["low", "march"] == [each["kind"] for each in kept["neighbour"]["rounds"]]
    assert {"critical", "low"} == {each["pressure"] for each in kept["neighbour"]["reactions"]}, told
    assert out.with_suffix(".png").exists()
