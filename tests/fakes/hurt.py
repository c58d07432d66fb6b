"""What is done to processes in tests of faults, and what is looked at afterwards."""

import contextlib
import secrets
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

SHIFT_VARIABLE = "GREENROOM_WALL_SHIFT"
GARBAGE = (
    b"GET / HTTP/1.1\r\nHost: greenroom\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
    b"",
)
"""A browser, a TLS client, HTTP/2 whose frames are no frames, and somebody who says nothing."""


def eventually(holds: Callable[[], bool], *, within_seconds: float = 20.0) -> bool:
    """Wait until something holds; say whether it came to. Whoever cannot be asked is asked again."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(grpc.RpcError):
            if holds():
                return True
        time.sleep(0.05)
    return False


def talk_nonsense(path: Path, times: int = 20) -> None:
    """Say to a socket what it cannot understand, and leave without a word; then again."""
    for _ in range(times):
        for words in (*GARBAGE, secrets.token_bytes(4096)):
            with socket.socket(socket.AF_UNIX) as mouth, contextlib.suppress(OSError):
                mouth.settimeout(5)
                mouth.connect(str(path))
                mouth.sendall(words)


@contextlib.contextmanager
def nonsense_at(path: Path) -> Iterator[None]:
    """Listen at a path, and answer whoever comes with what cannot be understood."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ear = socket.socket(socket.AF_UNIX)
    ear.bind(str(path))
    ear.listen()
    thread = threading.Thread(target=_answer_all, args=(ear,), daemon=True)
    thread.start()
    yield
    ear.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    ear.close()
    path.unlink(missing_ok=True)


def _answer_all(ear: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            met, _ = ear.accept()
            with met, contextlib.suppress(OSError):
                met.sendall(secrets.token_bytes(4096))


class WallClock:
    """A wall clock for processes that can be set, without touching the machine's."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "shifted_clock.so"
        self._shift = folder / "shift"
        self._shift.write_bytes(struct.pack("q", 0))

    def __repr__(self) -> str:
        return f"<WallClock {self._shift}>"

    def compiled(self) -> bool:
        """Compile the library; say whether there is a compiler."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            return False
        source = Path(__file__).with_name("shifted_clock.c")
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(self._library), str(source)]
        subprocess.run(command, check=True)
        return True

    @property
    def environment(self) -> dict[str, str]:
        """Variables that have a process follow this clock."""
        return {"LD_PRELOAD": str(self._library), SHIFT_VARIABLE: str(self._shift)}

    def jump(self, shift_seconds: int) -> None:
        """Set the clock to so much from the machine's; the file is written in place, because it is mapped."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("q", shift_seconds))


def descriptors(pid: int | str) -> int:
    """Return how many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def status_field(pid: int, name: str) -> int:
    """Return a number of `/proc/PID/status`, such as Threads, or VmRSS in kB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
