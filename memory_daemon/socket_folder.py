"""The sockets in a folder, looked for anew only when the folder has changed.

Names that come and go change the folder's own times. A listing is trusted once the folder had the same times before it
and after it at a later look: what came in the same moment as a listing, behind its back, would not change them again.
A link is no socket of the folder's: what it points to comes and goes without the folder, so that it is looked at anew.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

SOCKET_SUFFIX = ".sock"

Stamp = tuple[int, int, int, int]


class SocketFolder:
    """A folder of sockets, which need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: Mapping[str, Path] = {}
        self._stamp: Stamp | None = None
        self._trusted = False

    def __repr__(self) -> str:
        return f"<SocketFolder {self._folder} {' '.join(self._found) or 'empty'}>"

    def sockets(self) -> Mapping[str, Path]:
        """Return the sockets by name, in the order of their names; nothing that is no socket, nothing for no folder.

        While they are the same ones, it is the same value.
        """
        stamp = _stamp_of(self._folder)
        unchanged = stamp is not None and stamp == self._stamp
        if not (unchanged and self._trusted):
            self._stamp = stamp
            found, plain = _listed(self._folder)
            if found != list(self._found):
                self._found = {name: self._found.get(name) or self._folder / name for name in found}
            self._trusted = unchanged and plain
        return self._found


def _stamp_of(folder: Path) -> Stamp | None:
    try:
        told = os.stat(folder)  # noqa: PTH116 - A path's own method takes twice as long, and this is done every tick.
    except OSError:
        # The folder may come later, with the first service.
        return None
    return told.st_dev, told.st_ino, told.st_mtime_ns, told.st_ctime_ns


def _listed(folder: Path) -> tuple[list[str], bool]:
    """Return the names of sockets, sorted, and whether all that could be one is the folder's own."""
    try:
        with os.scandir(folder) as entries:
            named = [entry for entry in entries if entry.name.endswith(SOCKET_SUFFIX)]
            found = sorted(entry.name for entry in named if _is_socket(entry))
            return found, not any(entry.is_symlink() for entry in named)
    except OSError:
        return [], False


def _is_socket(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISSOCK(entry.stat().st_mode)
    except OSError:
        return False
