"""The daemon's lasting name, its lock, and files that are replaced as a whole."""

from pathlib import Path

import pytest

from memory_daemon.errors import StartupError
from memory_daemon.state_folder import KeptFile, holder_id, make_folder, take_lock


def test_holder_id_is_made_once(tmp_path: Path) -> None:
    """The name lasts over restarts, is printable, and differs between folders."""
    first, again, other = holder_id(tmp_path), holder_id(tmp_path), holder_id(tmp_path / "other")

    assert (first, True, True) == (again, first != other, first.isascii() and first.isprintable())


def test_damaged_holder_id_is_made_anew(tmp_path: Path) -> None:
    """A name that is no name is replaced."""
    (tmp_path / "holder-id").write_bytes(b"\xff\n")

    assert holder_id(tmp_path).startswith("memory-daemon-")


def test_lock_that_is_taken_names_its_holder_and_the_way_out(tmp_path: Path) -> None:
    """Two never share a state folder."""
    take_lock(tmp_path / "lock", "do this")

    with pytest.raises(StartupError, match=r"locked by process \d+: another memory-daemon runs here; do this"):
        take_lock(tmp_path / "lock", "do this")


def test_lock_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    """A folder that is not there cannot be locked."""
    with pytest.raises(StartupError, match="cannot be opened"):
        take_lock(tmp_path / "missing" / "lock", "do this")


def test_folder_that_is_a_file_cannot_be_used(tmp_path: Path) -> None:
    """The message says what to do."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StartupError, match="choose another with --state-dir"):
        make_folder(tmp_path / "file" / "state", 0o700)


def test_kept_file_that_is_saved_leaves_no_traces(tmp_path: Path) -> None:
    """Only the file and its backup remain."""
    kept = KeptFile(tmp_path / "file")
    kept.save(b"one")
    kept.save(b"two")

    assert {"file": b"two", "file.last": b"one"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
