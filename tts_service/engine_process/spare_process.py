"""The spare process as the front end holds it: asked for copies of itself, which are engines."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Sequence
from typing import Any, Final

import structlog

from tts_service.engine_process.adopted import AdoptedProcess
from tts_service.engine_process.child import EngineChild, LentDescriptors, python_command

MODULE: Final = "tts_service.engine_process.spare"
MOST_WORD_BYTES: Final = 4_096

_log = structlog.get_logger(__name__)


class SpareGoneError(Exception):
    """There is no spare process any more, or it must not be copied."""


class SpareProcess:
    """One of it; all of it in one event loop. It is killed when this process dies."""

    def __init__(self, process: asyncio.subprocess.Process, line: socket.socket) -> None:
        self.prepared = False
        self.gone = asyncio.Event()
        """Set once it can no longer be asked."""
        self._process = process
        self._line = line
        self._forking: asyncio.Future[int] | None = None
        asyncio.get_running_loop().add_reader(line, self._hear)

    @classmethod
    async def started(cls, *, module: str = MODULE) -> "SpareProcess":
        """Start one, which waits for what is asked."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003  # The library's.
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *python_command(module, "--line", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        _log.info("spare_started", pid=process.pid)
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_there(self) -> bool:
        """Whether it can still be asked."""
        return not self.gone.is_set()

    def prepare(self, imports: Sequence[str]) -> None:
        """Have it import this, at low priority."""
        with contextlib.suppress(OSError):  # Then it has gone, of which its reader hears.
            self._line.send(json.dumps({"prepare": list(imports)}).encode())

    async def engine(self, lent: LentDescriptors, *, within_seconds: float) -> EngineChild:
        """Return a copy that waits for its configuration. Raises SpareGoneError; then this one is of no use."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(ours.close)
            with theirs:
                process = AdoptedProcess(await self._forked(theirs.fileno(), lent, within_seconds))
            child = await EngineChild.over(process, ours)
            stack.pop_all()
        return child

    async def end(self) -> None:
        """Kill it, and see it off."""
        self._gone("ended")
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _forked(self, channel: int, lent: LentDescriptors, within_seconds: float) -> int:
        if self.gone.is_set():
            raise SpareGoneError("it has gone")
        self._forking = asyncio.get_running_loop().create_future()
        word = json.dumps({"fork": {"masters": list(lent.masters)}}).encode()
        try:
            socket.send_fds(self._line, [word], [channel, lent.lock, lent.shelf, *lent.masters])
            async with asyncio.timeout(within_seconds):
                return await self._forking
        except (OSError, TimeoutError) as error:
            raise SpareGoneError(f"it does not answer ({error!r})") from error
        finally:
            self._forking = None

    def _hear(self) -> None:
        try:
            data = self._line.recv(MOST_WORD_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(str(error))
            return
        try:
            word = json.loads(data) if data else {"refused": "it has ended"}
        except ValueError:
            word = {"refused": "it speaks nonsense"}
        self._take(word)

    def _take(self, word: Any) -> None:
        match word:
            case {"pid": int(pid)} if self._forking is not None and not self._forking.done():
                self._forking.set_result(pid)
            case {"prepared": int() | float() as seconds}:
                self.prepared = True
                _log.info("spare_prepared", pid=self.pid, seconds=seconds)
            case {"lacks": str(name), "reason": str(reason)}:
                _log.warning("spare_lacks", name=name, reason=reason)
            case {"refused": str(reason)}:
                self._gone(reason)
            case _:
                self._gone(f"it said {word!r}")

    def _gone(self, reason: str) -> None:
        if self.gone.is_set():
            return
        self.prepared = False
        self.gone.set()
        asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()
        if self._forking is not None and not self._forking.done():
            self._forking.set_exception(SpareGoneError(reason))
        if reason != "ended":
            _log.warning("spare_gone", pid=self.pid, reason=reason)

    def __repr__(self) -> str:
        state = "prepared" if self.prepared else "there" if self.is_there else "gone"
        return f"<SpareProcess {self.pid} {state}>"
