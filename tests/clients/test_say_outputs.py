"""Files and streams of `tts-say`: complete or not there at all, nothing overwritten, errors that name the file."""

import os
from pathlib import Path

import pytest

from greenroom_client.command import outputs
from greenroom_client.command.outputs import FileOutput, StreamOutput
from greenroom_client.command.problems import OutputError, UsageError
from greenroom_client.events import AudioChunk


def chunk(data: bytes) -> AudioChunk:
    """Return audio of these bytes."""
    return AudioChunk(utterance_id="u", sequence=0, sample_offset=0, sample_count=len(data), data=data, last=False)


def header(data_bytes: int | None) -> bytes:
    """Return a header of four bytes that says the length."""
    return b"????" if data_bytes is None else f"{data_bytes:04}".encode()


def test_file_appears_when_it_is_complete_with_its_length_in_the_header(tmp_path: Path) -> None:
    """Until the block ends nothing stands under the name."""
    path = tmp_path / "a.wav"
    with FileOutput(path, header=header, force=False) as output:
        output.write(chunk(b"ab"))
        output.write(chunk(b"cde"))
        before = path.exists()

    assert not before
    assert b"0005abcde" == path.read_bytes()
    assert 9 == output.written_bytes
    assert [path] == list(tmp_path.iterdir())


def test_file_has_the_rights_that_new_files_have(tmp_path: Path) -> None:
    """The way of writing does not show in the result."""
    (tmp_path / "ordinary").touch()
    with FileOutput(tmp_path / "a.raw", header=None, force=False) as output:
        output.write(chunk(b"a"))

    assert (tmp_path / "ordinary").stat().st_mode == (tmp_path / "a.raw").stat().st_mode


def test_file_of_a_run_that_fails_is_not_there(tmp_path: Path) -> None:
    """Neither the file nor its unfinished part is left, and an existing file is as it was."""
    path = tmp_path / "a.raw"
    path.write_bytes(b"before")

    def fail_half_way() -> None:
        with FileOutput(path, header=None, force=True) as output:
            output.write(chunk(b"half"))
            raise LookupError

    with pytest.raises(LookupError):
        fail_half_way()

    assert b"before" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_file_is_replaced_when_forced(tmp_path: Path) -> None:
    """With force the new file takes the place of the old one at once."""
    path = tmp_path / "a.raw"
    path.write_bytes(b"before")
    with FileOutput(path, header=None, force=True) as output:
        output.write(chunk(b"after"))

    assert b"after" == path.read_bytes()


def test_file_that_has_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    """Somebody else's file of the same name is not overwritten."""
    path = tmp_path / "a.raw"

    def write_beside_somebody() -> None:
        with FileOutput(path, header=None, force=False) as output:
            output.write(chunk(b"mine"))
            path.write_bytes(b"theirs")

    with pytest.raises(UsageError, match="appeared meanwhile"):
        write_beside_somebody()

    assert b"theirs" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_file_is_named_on_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where links are not supported the file is renamed, and an existing one is kept all the same."""

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(self), None, str(target))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with FileOutput(tmp_path / "a.raw", header=None, force=False) as output:
        output.write(chunk(b"new"))
    (tmp_path / "b.raw").write_bytes(b"theirs")
    with pytest.raises(UsageError), FileOutput(tmp_path / "b.raw", header=None, force=False) as output:
        output.write(chunk(b"mine"))

    assert b"new" == (tmp_path / "a.raw").read_bytes()
    assert b"theirs" == (tmp_path / "b.raw").read_bytes()


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which file, not which temporary one."""
    path = tmp_path / "nowhere" / "a.raw"

    with (
        pytest.raises(OutputError, match=rf"cannot write {path}: No such file"),
        FileOutput(path, header=None, force=False),
    ):
        pass


def test_disk_that_is_full_at_the_end_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the last moment, when the disk is asked to keep everything, is one as well."""

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(outputs.os, "fsync", full)
    path = tmp_path / "a.raw"
    with pytest.raises(OutputError, match="No space left"), FileOutput(path, header=None, force=False) as output:
        output.write(chunk(b"a"))

    assert [] == list(tmp_path.iterdir())


def test_full_device_is_told(tmp_path: Path) -> None:
    """The system's words arrive."""
    del tmp_path
    with (
        pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"),
        StreamOutput(Path("/dev/full"), header=None) as output,
    ):
        output.write(chunk(b"a"))


def test_pipe_is_written_at_once_and_says_when_its_reader_left(tmp_path: Path) -> None:
    """Chunks leave as they come; a closed pipe is an error with words of its own."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with StreamOutput(path, header=header) as output:
        output.write(chunk(b"first"))
        arrived = os.read(reader, 100)
        os.close(reader)
        with pytest.raises(OutputError, match="was closed by its reader"):
            output.write(chunk(b"second"))

    assert b"????first" == arrived
    assert 9 == output.written_bytes


def test_large_data_is_written_whole(tmp_path: Path) -> None:
    """A write that takes only part of the data is followed by others."""
    path = tmp_path / "a.raw"
    data = os.urandom(3_000_000)
    with FileOutput(path, header=None, force=False) as output:
        output.write(chunk(data))

    assert data == path.read_bytes()
