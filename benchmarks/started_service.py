"""A service that is started only to see how it comes up: when it was ready, its log, and its host memory on the way."""

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.host_memory import host_bytes

READY_SECONDS = 180.0
EVERY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's resident memory at a time of the machine's clock, and the highest until then."""

    seconds: float
    anonymous: int
    file: int
    peak: int


def started(command: list[str], folder: Path, began: float) -> tuple[float, list[Memory], list[str]]:
    """Start a service and end it once it is ready; return how long that took, its memory meanwhile, and its log."""
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            seconds, memory = _until_ready(process, log, began)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    return seconds, memory, log.read_text().splitlines()


def _until_ready(process: "subprocess.Popen[bytes]", log: Path, began: float) -> tuple[float, list[Memory]]:
    """Return the seconds until it was ready, and its memory on the way, every 20 ms or so."""
    memory: list[Memory] = []
    while '"ready"' not in log.read_text():
        if process.poll() is not None or time.monotonic() - began > READY_SECONDS:
            raise RuntimeError(f"never ready:\n{log.read_text()[-3000:]}")
        memory.append(_memory_of(process.pid))
        time.sleep(EVERY_SECONDS)
    return time.monotonic() - began, [*memory, _memory_of(process.pid)]


def _memory_of(pid: int) -> Memory:
    anonymous, file, peak = (host_bytes(name, pid) for name in ("RssAnon", "RssFile", "VmHWM"))
    return Memory(time.monotonic(), anonymous, file, peak)
