"""A child process that another process has begun, and that has become this one's."""

import asyncio
import os
import signal


class AdoptedProcess:
    """Told of its end by the kernel, through a descriptor that stands for it; all of it in one event loop.

    Its number cannot be another's before it was waited for, which nobody but this does.
    """

    def __init__(self, pid: int) -> None:
        """Take it over. Raises OSError if there is no such child."""
        self.pid = pid
        self.returncode: int | None = None
        self._descriptor = os.pidfd_open(pid)
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._descriptor, self._reap)

    def send_signal(self, signal: int) -> None:
        """Send it a signal; nothing if it has ended."""
        if self.returncode is None:
            _send(self._descriptor, signal)

    async def wait(self) -> int:
        """Wait until it has ended, and return its status, negative for a signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def _reap(self) -> None:
        try:
            found = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return  # Not yet this process's: its first parent is about to end.
        if found is None:
            return
        self.returncode = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._ended.set()

    def __repr__(self) -> str:
        return f"<AdoptedProcess {self.pid} {'runs' if self.returncode is None else f'ended with {self.returncode}'}>"


def _send(descriptor: int, number: int) -> None:
    signal.pidfd_send_signal(descriptor, number)
