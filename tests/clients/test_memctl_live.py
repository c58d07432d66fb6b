"""`memctl top` on a real terminal, while the daemon comes and goes."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memctl.errors import UnreachableError
from memctl.feed import StatusFeed
from memctl.link import StatusStream, policy_link
from memctl.statuses import Peer
from tests.fakes.fake_policy_service import FakeDaemon, serving
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memctl_desk import Desk
from tests.fakes.memctl_desk import desk as open_desk

PATIENCE_SECONDS = 30.0
"""Far more than anything takes; only a broken test waits so long."""
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
COLOUR = re.compile(r"\x1b\[[0-9;]*?(?:3[0-7]|4[0-7])[0-9;]*m")
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`memctl top` in a terminal of its own; `screen` is all that it has written."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.screen = ""
        self._master = master

    def wait_for(self, words: str) -> None:
        """Read until the words appear after what was read before."""
        begin, deadline = len(self.screen), time.monotonic() + PATIENCE_SECONDS
        while words not in SEQUENCE.sub("", self.screen[begin:]):
            assert time.monotonic() < deadline, f"{words!r} never came; the screen had {self.screen[-3_000:]!r}"
            self._read()

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._master, keys.encode())

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal if one is given, read to the end, and return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "memctl did not leave"
            self._read()
        while self._read():
            pass
        return self.process.returncode

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 0.05)
        if not ready:
            return False
        try:
            self.screen += os.read(self._master, 65_536).decode(errors="replace")
        except OSError:
            # Linux's way to say that the other end of a terminal is closed.
            return False
        return True

    def __repr__(self) -> str:
        return f"<Terminal {self.process.pid} with {len(self.screen)} characters>"


@contextmanager
def terminal(path: Path, *, columns: int = 80, rows: int = 24, **environment: str) -> Iterator[Terminal]:
    """Start `memctl top` in a terminal of that size, and make sure that it ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "memctl", "--socket", str(path), "top", "--timeout", "20s"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**kept, "TERM": "xterm-256color", **environment},
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk with nothing behind its sockets yet."""
    with open_desk() as one:
        yield one


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_top_gives_the_terminal_back(desk: Desk, number: signal.Signals, exit_code: int) -> None:
    """However it is ended, the view leaves the other screen, shows the cursor, and prints no traceback."""
    desk.serve_daemon()
    with terminal(desk.policy_socket) as one:
        one.wait_for("watermark.detector")
        ended = one.end(number)

    assert exit_code == ended
    assert (1, 1) == (one.screen.count(ENTER_SCREEN), one.screen.count(LEAVE_SCREEN))
    assert one.screen.rindex(LEAVE_SCREEN) > one.screen.rindex("watermark.detector")
    assert one.screen.rindex(SHOW_CURSOR) > one.screen.rindex(HIDE_CURSOR)
    assert "Traceback" not in one.screen
    assert COLOUR.findall(one.screen)


def test_top_says_when_the_daemon_goes_and_when_it_is_back(desk: Desk) -> None:
    """A daemon that restarts in the middle is told to be gone, and the view comes back by itself."""
    with terminal_while_served(desk.policy_socket, desk.daemon) as (one, stop):
        one.wait_for("revision 1")
        stop()
        one.wait_for("No daemon, dialling again")
        after = FakeDaemon(desk.service)
        after.policy.revision = 7
        with serving(desk.policy_socket, after):
            one.wait_for("revision 7")
            ended = one.end(signal.SIGINT)

    assert 130 == ended


@contextmanager
def terminal_while_served(path: Path, daemon: FakeDaemon) -> Iterator[tuple[Terminal, Callable[[], None]]]:
    """Give a terminal with `top` on it, and what stops the daemon behind it."""
    server = serving(path, daemon)
    server.__enter__()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        server.__exit__(None, None, None)

    try:
        with terminal(path) as one:
            yield one, stop
    finally:
        if not stopped:
            stop()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60)])
def test_top_fits_the_terminal(desk: Desk, columns: int, rows: int) -> None:
    """A frame has no more lines, and no longer ones, than the terminal; with NO_COLOR it has no colours."""
    desk.serve_daemon()
    with terminal(desk.policy_socket, columns=columns, rows=rows, NO_COLOR="1") as one:
        one.wait_for("watermark.detector")
        one.end(signal.SIGINT)
    frames = one.screen.split("\x1b[H")[1:]
    lines = SEQUENCE.sub("", frames[0]).split("\r\n")

    assert len(lines) <= rows
    assert max(map(len, lines)) <= columns
    assert [] == COLOUR.findall(one.screen)


def test_top_without_a_daemon_leaves_at_once(desk: Desk) -> None:
    """Where there is nobody to watch, the terminal is not taken over."""
    with terminal(desk.policy_socket) as one:
        one.wait_for("No memory daemon is running here")
        one.process.wait(PATIENCE_SECONDS)

    assert 3 == one.process.returncode
    assert ENTER_SCREEN not in one.screen


def test_command_that_waits_is_interrupted_without_a_word(desk: Desk) -> None:
    """Ctrl-C during a call that hangs ends it at once, with exit code 130 and no traceback."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(desk.policy_socket))
        listener.listen()
        command = [sys.executable, "-m", "memctl", "--socket", str(desk.policy_socket), "get", "--timeout", "1h"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        listener.settimeout(PATIENCE_SECONDS)
        connection, _ = listener.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            told = process.communicate(timeout=PATIENCE_SECONDS)

    assert (130, "") == (process.returncode, told[0])
    assert "Traceback" not in told[1]


def test_watch_whose_reader_leaves_ends_quietly(desk: Desk) -> None:
    """A pipe that is closed, as by `head`, ends the command without a traceback."""
    desk.serve_daemon()
    command = [sys.executable, "-m", "memctl", "--socket", str(desk.policy_socket), "watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()

    assert first.startswith("{")
    assert (1, "") == (process.returncode, told)


def until(condition: Callable[[], bool]) -> bool:
    """Wait for a condition, and return whether it came true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def feed_of(desk: Desk, timeout_seconds: float) -> StatusFeed:
    """Return a feed from a desk's daemon."""
    with policy_link(desk.policy_socket, timeout_seconds=timeout_seconds) as link:
        first = link.snapshot()
    return StatusFeed(
        lambda: policy_link(desk.policy_socket, timeout_seconds=timeout_seconds), first, clock=ManualClock()
    )


def test_feed_follows_the_daemon(desk: Desk) -> None:
    """The newest status is always at hand."""
    desk.serve_daemon()
    feed = feed_of(desk, 5.0)
    feed.start()
    desk.daemon.free_bytes = 12_345
    followed, shown = until(lambda: feed.glimpse().status.devices[0].free_bytes == 12_345), repr(feed)
    feed.stop()

    assert followed
    assert "<StatusFeed up>" == shown


def test_feed_hangs_up_on_a_daemon_that_has_fallen_silent_and_dials_again(desk: Desk) -> None:
    """A line that is open but says nothing is given up, told, and dialled anew until somebody speaks."""
    desk.daemon.policy.maximum_period.FromMilliseconds(100)
    desk.serve_daemon()
    feed = feed_of(desk, 1.0)
    feed.start()
    desk.daemon.silent.set()
    lost = until(lambda: feed.glimpse().line.down_unix_seconds is not None)
    cause, shown = feed.glimpse().line.cause, repr(feed)
    desk.daemon.silent.clear()
    back = until(lambda: feed.glimpse().line.down_unix_seconds is None)
    feed.stop()

    assert (True, True) == (lost, back)
    assert "does not answer in time" in cause
    assert "down" in shown


def test_feed_stops_while_it_dials(desk: Desk) -> None:
    """Leaving does not wait for a daemon that is gone."""
    with serving(desk.policy_socket, desk.daemon):
        feed = feed_of(desk, 5.0)
        feed.start()
        desk.daemon.free_bytes = 12_345
        # A call that meets a server on its way out, in one process with it, has been seen to hang within gRPC.
        heard = until(lambda: feed.glimpse().status.devices[0].free_bytes == 12_345)
    lost = until(lambda: feed.glimpse().line.attempts >= 2)
    feed.stop()

    assert (True, True) == (heard, lost)
    assert not feed._thread.is_alive()


def test_keys_tune_the_policy_in_place(desk: Desk) -> None:
    """Arrows prepare a change that is shown, Enter makes it, and q gives the terminal back."""
    desk.serve_daemon()
    with terminal(desk.policy_socket, columns=120, rows=40) as one:
        one.wait_for("watermark.detector")
        one.press("\x1b[B\x1b[B\x1b[C")
        one.wait_for("low 10% -> 11%")
        before = desk.daemon.policy.revision
        one.press("\r")
        one.wait_for("low is set: revision 2")
        one.press("q")
        ended = one.end()

    assert (1, 11.0, 0) == (before, desk.daemon.policy.low.percent, ended)
    assert one.screen.rindex(SHOW_CURSOR) > one.screen.rindex(HIDE_CURSOR)


def test_key_that_is_refused_says_why(desk: Desk) -> None:
    """A change that somebody else overtook is refused, and the view goes on."""
    desk.serve_daemon()
    with terminal(desk.policy_socket, columns=120, rows=40) as one:
        one.wait_for("watermark.detector")
        one.press("\x1b[B" * 3 + "\x1b[D" * 14)
        one.wait_for("high 15% -> 1%")
        one.press("\r")
        one.wait_for("refused: high: must be at least low")
        ended = one.end(signal.SIGINT)

    assert (15.0, 130) == (desk.daemon.policy.high.percent, ended)


class DeafCall:
    """A stream that hangs within gRPC: it heeds no cancellation, and ends when its channel is closed."""

    def __init__(self) -> None:
        self.cancelled = False
        self._closed = threading.Event()

    def __next__(self) -> None:
        """Wait for the channel's end."""
        assert self._closed.wait(PATIENCE_SECONDS)
        raise StopIteration

    def cancel(self) -> None:
        """Note it, and go on hanging."""
        self.cancelled = True

    def close_channel(self) -> None:
        """End."""
        self._closed.set()


def test_stream_that_hangs_within_grpc_is_given_up(tmp_path: Path) -> None:
    """Cancelling it does nothing, so its channel is closed: a view must not stand still for ever."""
    call = DeafCall()
    peer = Peer(name="memory daemon", path=tmp_path / "policy.sock")
    stream = StatusStream(call, peer=peer, timeout_seconds=0.05, hang_up=call.close_channel)

    with pytest.raises(UnreachableError):
        next(iter(stream))

    assert call.cancelled
