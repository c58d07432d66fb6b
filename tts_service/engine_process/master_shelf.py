"""Keeps the host memory of modules over the engine's death: descriptors of memory that the engine has filled.

The engine hands descriptors over by a pair of sockets of their own, in packets of one word each. The next engine
inherits them. Nothing of the memory is mapped here.
"""

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from typing import Any, Final

import structlog

from tts_service.models.kept_master import KeptMaster
from tts_service.types import ModuleName

MOST_MASTERS: Final = 64
MOST_WORD_BYTES: Final = 4_096

_log = structlog.get_logger(__name__)


class MasterShelf:
    """What is kept, and the engine's line to it. All of it belongs to one event loop."""

    def __init__(self) -> None:
        self._kept: dict[ModuleName, KeptMaster] = {}
        self._line: socket.socket | None = None

    @property
    def kept(self) -> tuple[KeptMaster, ...]:
        """What is kept."""
        return tuple(self._kept.values())

    def listen(self) -> socket.socket:
        """Listen to a new engine, and to no other any more; return its end of the line."""
        self.hang_up()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003  # The library's.
        self._line = ours
        asyncio.get_running_loop().add_reader(ours, self._hear)
        return theirs

    def hang_up(self) -> None:
        """Hear what the engine has said, and then no more."""
        line, self._line = self._line, None
        if line is not None:
            while self._hear_one(line):
                pass
            asyncio.get_running_loop().remove_reader(line)
            line.close()

    def close(self) -> None:
        """Let go of everything."""
        self.hang_up()
        for module in tuple(self._kept):
            self._let_go(module)

    def _hear(self) -> None:
        if self._line is not None and not self._hear_one(self._line):
            asyncio.get_running_loop().remove_reader(self._line)

    def _hear_one(self, line: socket.socket) -> bool:
        """Take one word in; return whether another may follow."""
        try:
            data, descriptors, _, _ = socket.recv_fds(line, MOST_WORD_BYTES, 1)
        except BlockingIOError:
            return line is self._line
        except OSError:
            return False
        if not data:
            return False
        self._take(data, descriptors)
        return True

    def _take(self, data: bytes, descriptors: list[int]) -> None:
        try:
            word = json.loads(data)
            module = ModuleName(str(word["module"]))
            self._let_go(module)
            if descriptors and len(self._kept) < MOST_MASTERS:
                self._kept[module] = _kept(module, word, descriptors.pop())
        except (ValueError, LookupError, TypeError) as error:
            _log.error("master_not_kept", error=str(error))
        for descriptor in descriptors:
            os.close(descriptor)

    def _let_go(self, module: ModuleName) -> None:
        kept = self._kept.pop(module, None)
        if kept is not None:
            os.close(kept.descriptor)

    def __repr__(self) -> str:
        return f"<MasterShelf {' '.join(self._kept) or 'empty'} | {sum(each.byte_count for each in self.kept)} bytes>"


class ShelfLine:
    """The engine's end of the line; may be used from any thread. Once nobody listens, nothing is kept."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def keep(self, master: KeptMaster) -> None:
        """Have memory kept."""
        word = {"module": master.module, "identity": master.identity, "byte_count": master.byte_count}
        self._say(word, [master.descriptor])

    def let_go(self, module: ModuleName) -> None:
        """Have a module's memory kept no longer."""
        self._say({"module": module}, [])

    def _say(self, word: Mapping[str, Any], descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._line, [json.dumps(word).encode()], descriptors)
        except OSError as error:
            _log.warning("nobody_keeps_masters", reason=error.strerror)

    def __repr__(self) -> str:
        return "<ShelfLine>"


def _kept(module: ModuleName, word: Mapping[str, Any], descriptor: int) -> KeptMaster:
    try:
        identity, byte_count = str(word["identity"]), int(word["byte_count"])
    except (ValueError, LookupError, TypeError):
        os.close(descriptor)
        raise
    return KeptMaster(module=module, identity=identity, byte_count=byte_count, descriptor=descriptor)
