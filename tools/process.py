"""One of Greenroom's processes as a child of a command: started with a log, waited for, stopped whatever happens."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc

READY_SECONDS = 120.0
"""To be ready in, with nothing to make or fetch first."""

STOP_SECONDS = 20.0
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNAL_STATUS = 128
"""Shells report a command that a signal ended with this and the signal's number."""


class NotReadyError(Exception):
    """A process did not come up; the message holds the end of its log."""


class Interrupted(SystemExit):
    """Ctrl-C; who does not catch it ends with the status by which shells know that.

    It is no KeyboardInterrupt: Python 3.11 remembers one that came while it executed a string, as importing a
    dataclass does, and then ends a command run with `-m` by SIGINT at its very end, even if the command caught it.
    """

    def __init__(self) -> None:
        super().__init__(SIGNAL_STATUS + signal.SIGINT)


class Process:
    """One process and its log."""

    def __init__(self, name: str, arguments: Sequence[str], *, env: Mapping[str, str], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._arguments = [sys.executable, "-m", *arguments]
        self._env = dict(env)
        self._popen: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process's id while it runs."""
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        """Start it; it writes to its log."""
        self._log = self.log_path.open("ab")
        with _signals_deferred():
            self._popen = subprocess.Popen(  # noqa: S603  # Our own commands.
                self._arguments, env=self._env, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def check(self) -> None:
        """Raise NotReadyError if it has ended."""
        assert self._popen is not None
        code = self._popen.poll()
        if code is not None:
            raise NotReadyError(f"{self.name} ended with status {code}; the end of {self.log_path}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def signal(self, number: int) -> None:
        """Send a signal to exactly this process."""
        assert self._popen is not None
        self._popen.send_signal(number)

    def wait(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended; return its status."""
        assert self._popen is not None
        code = self._popen.wait(timeout_seconds)
        if self._log is not None:
            self._log.close()
        return code

    def stop(self) -> int:
        """Ask it to end, and make it end if it does not, or if waiting for it is interrupted."""
        if self._popen is None:
            return 0
        self._popen.terminate()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self.wait()
        except BaseException:
            self._popen.kill()
            raise

    def until(self, holds: Callable[[], bool], *, within_seconds: float = READY_SECONDS) -> None:
        """Wait until something holds; a call that fails is tried again. Raises NotReadyError."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(grpc.RpcError):
                if holds():
                    return
            time.sleep(0.05)
        raise NotReadyError(
            f"{self.name} was not ready within {within_seconds:g} s; the end of {self.log_path}:\n{self.log_tail()}"
        )

    def __repr__(self) -> str:
        return f"<Process {self.name} {'not started' if self._popen is None else self._popen.pid}>"


def wait_serving(service: Process, speech_address: str, *, within_seconds: float = READY_SECONDS) -> None:
    """Wait until the service's health says SERVING. Raises NotReadyError."""
    with grpc.insecure_channel(speech_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        service.until(
            lambda: (
                health.Check(health_pb2.HealthCheckRequest(), timeout=1.0).status
                == health_pb2.HealthCheckResponse.SERVING
            ),
            within_seconds=within_seconds,
        )


def wait_governed(daemon: Process, control_socket: Path) -> None:
    """Wait until the service has a governor. Raises NotReadyError."""
    with grpc.insecure_channel(f"unix:{control_socket}") as channel:
        control = residency_pb2_grpc.ResidencyServiceStub(channel)
        request = residency_pb2.GetResidencyRequest()
        daemon.until(lambda: bool(control.GetResidency(request, timeout=1.0).report.holder_id))


def end_on_signals() -> None:
    """Turn SIGTERM and SIGHUP into SystemExit, Ctrl-C into Interrupted, so that `finally` blocks run.

    Children have process groups of their own: nobody else ends them when a command is told to end. A second
    signal does not break into the blocks. One that is ignored, as under nohup, stays ignored.
    """

    def end(number: int, _frame: Any) -> None:
        for each in ENDING_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise Interrupted
        sys.exit(SIGNAL_STATUS + number)

    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Hold signals back while a child is made: one that broke in would leave a child that nobody knows."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {n: handler for n in ENDING_SIGNALS if (handler := signal.getsignal(n)) is not signal.SIG_IGN}
    for number in handlers:
        signal.signal(number, lambda n, _frame: came.append(n))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first in came[:1]:
            signal.raise_signal(first)
