"""Sockets in a folder: found as they come and go, and not looked for where nothing has changed."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from memory_daemon.socket_folder import SocketFolder

TICK_SECONDS = 0.03
"""Longer than any file system's clock takes from one time to the next, as is the shortest time between two looks."""


class Listings:
    """Counts how often folders are listed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._scandir = os.scandir
        monkeypatch.setattr("memory_daemon.socket_folder.os.scandir", self._counted)

    def _counted(self, folder: Path) -> Any:
        self.count += 1
        return self._scandir(folder)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """End what a test began."""
    with ExitStack() as opened:
        yield opened


def serve(stack: ExitStack, path: Path) -> None:
    """Put a socket somewhere."""
    stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))


def looked(folder: SocketFolder) -> list[str]:
    """Look at a folder a tick later."""
    time.sleep(TICK_SECONDS)
    return list(folder.sockets())


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> Listings:
    """Count from here on."""
    return Listings(monkeypatch)


def test_folder_that_is_as_it_was_is_listed_twice_and_then_no_more(
    tmp_path: Path, stack: ExitStack, listings: Listings
) -> None:
    """An idle daemon only asks when its folder has changed."""
    serve(stack, tmp_path / "a.sock")
    folder = SocketFolder(tmp_path)
    seen = [looked(folder) for _ in range(6)]

    assert ([["a.sock"]] * 6, 2) == (seen, listings.count)


def test_change_after_a_trusted_listing_is_seen_at_the_next_look(tmp_path: Path, stack: ExitStack) -> None:
    """Sockets that come, go, and come back in place of others are all seen."""
    folder, seen = SocketFolder(tmp_path), []
    for name, comes in (("a", True), ("b", True), ("a", False), ("a", True), ("b", False), ("b", True), ("a", False)):
        seen += [looked(folder) for _ in range(3)][:1]
        path = tmp_path / f"{name}.sock"
        if comes:
            serve(stack, path)
        else:
            path.unlink()
        seen.append(looked(folder))

    steps = ["", "a", "a", "ab", "ab", "b", "b", "ab", "ab", "a", "a", "ab", "ab", "b"]
    assert [[f"{name}.sock" for name in names] for names in steps] == seen


def test_file_in_a_sockets_place_is_seen_to_be_none(tmp_path: Path, stack: ExitStack) -> None:
    """What has the name of a socket that was there need not be one."""
    serve(stack, tmp_path / "a.sock")
    folder = SocketFolder(tmp_path)
    before = [looked(folder) for _ in range(3)]
    (tmp_path / "a.sock").unlink()
    (tmp_path / "a.sock").write_text("")

    assert ([["a.sock"]] * 3, []) == (before, looked(folder))


def test_link_to_a_socket_elsewhere_follows_what_it_points_to(tmp_path: Path, stack: ExitStack) -> None:
    """A socket that a link points to comes and goes without a change of the folder."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "a.sock").symlink_to(tmp_path / "real.sock")
    folder = SocketFolder(tmp_path / "services")
    seen = [looked(folder) for _ in range(3)]
    serve(stack, tmp_path / "real.sock")
    seen += [looked(folder) for _ in range(3)]
    (tmp_path / "real.sock").unlink()
    seen.append(looked(folder))

    assert [*[[]] * 3, *[["a.sock"]] * 3, []] == seen


def test_folder_that_comes_later_is_found(tmp_path: Path, stack: ExitStack) -> None:
    """The first service makes the folder; nothing is in it before."""
    folder = SocketFolder(tmp_path / "later")
    before = [looked(folder) for _ in range(3)]
    (tmp_path / "later").mkdir()
    serve(stack, tmp_path / "later" / "a.sock")

    assert ([[]] * 3, ["a.sock"]) == (before, looked(folder))
