"""What `benchmarks.neighbour` needs of a machine: a service that speaks, a neighbour, and who sees what is free."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.neighbour_speech import Speaker
from greenroom.memory.v1 import residency_pb2

MB: Final = 10**6
WATCH_SECONDS: Final = 0.005


class Child:
    """A module of ours as a process that answers a line of JSON to each command. Thread-safe."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=None if environment is None else dict(environment),
        )

    def __repr__(self) -> str:
        return f"<Child {self._process.pid}>"

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._process.pid

    def ask(self, command: str) -> Any:
        """Return what it answers. Raises RuntimeError if it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that was asked {command!r} has ended")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Watch:
    """What is free on the device over time, read by a process of its own."""

    def __init__(self, probe: Child, device: str) -> None:
        self.readings: list[tuple[float, int]] = []
        self._probe = probe
        self._device = device
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __repr__(self) -> str:
        return f"<Watch {self._device} | {len(self.readings)} readings>"

    def start(self) -> None:
        """Begin to read all the time."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._ends.set()
        self._thread.join()

    def free_bytes(self) -> int:
        """Return what is free now. Raises RuntimeError if it cannot be read."""
        answer = self._probe.ask(f"sample {self._device}")
        if "free" not in answer:
            raise RuntimeError(f"memory cannot be read: {answer}")
        return int(answer["free"])

    def _read(self) -> None:
        while not self._ends.wait(WATCH_SECONDS):
            self.readings.append((time.time(), self.free_bytes()))


class Hog(Protocol):
    """A neighbour that takes memory."""

    def take(self, size_bytes: int) -> int:
        """Return the driver's status: 0 for success."""

    def free_all(self) -> None:
        """Give everything back."""


class DriverHog:
    """Takes a GPU's memory."""

    def __init__(self, process: Child) -> None:
        self._process = process

    def __repr__(self) -> str:
        return f"<DriverHog {self._process!r}>"

    def take(self, size_bytes: int) -> int:
        """Return the driver's status."""
        return int(self._process.ask(f"take {size_bytes}"))

    def free_all(self) -> None:
        """Give everything back."""
        self._process.ask("free")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A governed service, a client that makes it speak, a neighbour, and what is seen of all of them."""

    device: str
    watch: Watch
    hog: Hog
    speaker: Speaker
    report: Callable[[], residency_pb2.ResidencyReport]
    waits: Callable[[], tuple[int, float]]
    journal: Path
    daemon_pid: int
    processes: Callable[[], Any]


def machine(stack: ExitStack, *, device: str, probe: Child, **parts: Any) -> Machine:
    """Return a machine whose memory is watched from now on."""
    watch = Watch(probe, device)
    watch.start()
    stack.callback(watch.stop)
    return Machine(device=device, watch=watch, processes=lambda: probe.ask(f"processes {device}"), **parts)


def probe(stack: ExitStack, environment: Mapping[str, str] | None = None) -> Child:
    """Return a process that reads memory as the daemon does."""
    return child(stack, "tests.fakes.nvml_probe", environment=environment)


def child(stack: ExitStack, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Child:
    """Return a process that ends with the stack."""
    begun = Child(module, *arguments, environment=environment)
    stack.callback(begun.close)
    return begun
