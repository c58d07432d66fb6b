"""Where the control socket is by default: the folder is found, made, or refused."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tts_service import control_socket
from tts_service.control_socket import default_control_socket
from tts_service.errors import StartupError


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a short name: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="gr") as name:
        yield Path(name)


def test_default_socket_is_under_the_runtime_folder(folder: Path) -> None:
    """With XDG_RUNTIME_DIR the folders are made for owner and group."""
    path = default_control_socket("default", environment={"XDG_RUNTIME_DIR": str(folder)})
    modes = [stat.S_IMODE(made.stat().st_mode) for made in (path.parent, path.parent.parent)]

    assert (folder / "greenroom" / "services" / "default.sock", [0o750] * 2) == (path, modes)


def test_default_socket_twice_is_the_same(folder: Path) -> None:
    """Folders that are there already are used."""
    environment = {"XDG_RUNTIME_DIR": str(folder)}

    assert default_control_socket("a", environment=environment) == default_control_socket("a", environment=environment)


def test_runtime_folder_that_is_missing_is_named(folder: Path) -> None:
    """A wrong XDG_RUNTIME_DIR is told, not made."""
    with pytest.raises(StartupError, match="XDG_RUNTIME_DIR"):
        default_control_socket("a", environment={"XDG_RUNTIME_DIR": str(folder / "missing")})

    assert not (folder / "missing").exists()


def test_default_socket_without_runtime_folder_is_private(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the temporary folder, where everybody writes, only the owner gets in."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    path = default_control_socket("default", environment={})
    private = folder / f"greenroom-{os.getuid()}"

    assert (private / "services" / "default.sock", 0o700) == (path, stat.S_IMODE(private.stat().st_mode))


@pytest.mark.parametrize("thing", ["link", "file", "open folder", "folder of another"])
def test_private_folder_that_others_laid_out_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, thing: str
) -> None:
    """What somebody else may have put there is not trusted."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    private = folder / f"greenroom-{os.getuid()}"
    match thing:
        case "link":
            (folder / "elsewhere").mkdir(mode=0o700)
            private.symlink_to(folder / "elsewhere")
        case "file":
            private.write_text("")
        case "open folder":
            private.mkdir()
            private.chmod(0o770)
        case _:
            private.mkdir(mode=0o700)
            monkeypatch.setattr(os, "getuid", lambda: 4_242)
            private.rename(folder / "greenroom-4242")
    with pytest.raises(StartupError, match="of this user alone"):
        default_control_socket("default", environment={})

    assert not (folder / "elsewhere" / "services").exists()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-flag", "x" * 65, "a b", "a\n", "ü"])
def test_service_name_that_is_no_file_name_is_refused(folder: Path, name: str) -> None:
    """A name cannot lead out of the folder."""
    with pytest.raises(StartupError, match="service name"):
        default_control_socket(name, environment={"XDG_RUNTIME_DIR": str(folder)})

    assert [] == list(folder.iterdir())


def test_services_folder_is_where_the_daemon_looks() -> None:
    """Both processes find the same folder from the same surroundings."""
    temporary = Path("/temporary")
    folders = [
        control_socket.services_folder(environment, temporary=temporary, user_id=7)
        for environment in (
            {"XDG_RUNTIME_DIR": "/run/user/7"},
            {},
            {"XDG_RUNTIME_DIR": ""},
            {"XDG_RUNTIME_DIR": "relative"},
        )
    ]

    assert [
        Path("/run/user/7/greenroom/services"),
        Path("/temporary/greenroom-7/services"),
        Path("/temporary/greenroom-7/services"),
        Path("/temporary/greenroom-7/services"),
    ] == folders


def test_relative_runtime_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG specification says: nothing is made below the folder that we happen to be in."""
    (tmp_path / "here" / "relative").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = default_control_socket("default", environment={"XDG_RUNTIME_DIR": "relative"})

    assert path.is_relative_to(tmp_path / f"greenroom-{os.getuid()}")
    assert (path.parent.parent.stat().st_mode & 0o777, []) == (0o700, list((tmp_path / "here" / "relative").iterdir()))
