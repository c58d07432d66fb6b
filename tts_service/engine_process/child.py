"""The engine's process as the front end holds it: started with one end of a channel, killed, waited for."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tts_service.engine_process.channel import Channel
from tts_service.engine_process.messages import engine_words, front_words

MODULE: Final = "tts_service.engine_process"
"""What is run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LentDescriptors:
    """What the engine is lent besides its end of the channel.

    The lock of the control socket, its line to the shelf of masters, and the masters themselves.
    """

    lock: int
    shelf: int
    masters: tuple[int, ...] = ()


class Process(Protocol):
    """A child process of this one."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    @property
    def returncode(self) -> int | None:
        """Its status, negative for a signal; None while it runs."""
        ...

    def send_signal(self, signal: int) -> None:
        """Send it a signal; nothing if it has ended."""
        ...

    async def wait(self) -> int:
        """Wait until it has ended, and return its status."""
        ...


class EngineChild:
    """One engine process and the channel to it. It ends when the channel does, and is killed when this process dies."""

    def __init__(self, process: Process, channel: Channel) -> None:
        self.channel = channel
        self._process = process

    @classmethod
    async def started(cls, lent: LentDescriptors, *, module: str = MODULE) -> "EngineChild":
        """Start one; it waits for its configuration."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *_command(module, channel=theirs.fileno(), lent=lent),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lent.lock, lent.shelf, *lent.masters),
            )
        return await cls.over(process, ours)

    @classmethod
    async def over(cls, process: Process, end: socket.socket) -> "EngineChild":
        """Return one that runs, with this end of its channel."""
        return cls(process, await Channel.over(end, says=front_words(), hears=engine_words()))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)

    async def wait(self, timeout_seconds: float) -> int | None:
        """Wait until it has ended, and return its status, negative for a signal; None if that takes too long."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._process.wait()
        except TimeoutError:
            return None

    def __repr__(self) -> str:
        status = self._process.returncode
        return f"<EngineChild {self.pid} {'runs' if status is None else f'ended with {status}'}>"


def python_command(module: str, *arguments: str) -> Sequence[str]:
    """Return what runs a module as a process of its own, which ends with this one."""
    warnings = [f"-W{each}" for each in sys.warnoptions]
    return [sys.executable, *warnings, "-m", module, *arguments, "--parent", str(os.getpid())]


def _command(module: str, *, channel: int, lent: LentDescriptors) -> Sequence[str]:
    descriptors = ["--channel", str(channel), "--lock", str(lent.lock), "--shelf", str(lent.shelf)]
    return python_command(module, *descriptors, "--masters", *map(str, lent.masters))
