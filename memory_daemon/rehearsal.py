"""Runs a simulation for an operator in a process of its own, so that the daemon goes on deciding meanwhile.

One at a time, at the lowest priority, with an end: whoever rehearses never keeps the loop waiting.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter

from memory_daemon.errors import DaemonError, FieldViolation, Reason, bad_config
from memory_daemon.journal import journal_files
from memory_daemon.marks import Policy

PROGRAM = "memory_daemon.simulate"
LONGEST_SECONDS = 120.0
TRACE_BYTES_MAXIMUM = 64 * 1024 * 1024
LEAST_PRIORITY = 19
RETRY_SECONDS = 5.0


class Rehearsal:
    """The place where one simulation at a time is run."""

    def __init__(self, *, journal_folder: Path) -> None:
        self._journal_folder = journal_folder
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Rehearsal {'busy' if self._lock.locked() else 'free'}>"

    @contextmanager
    def stage(self) -> Iterator["Stage"]:
        """Take the place; raises DaemonError AT_CAPACITY while another simulation has it."""
        if not self._lock.acquire(blocking=False):
            raise DaemonError(Reason.AT_CAPACITY, "another simulation is running", retry_after_seconds=RETRY_SECONDS)
        try:
            with TemporaryDirectory(prefix="greenroom-simulation-") as folder:
                yield Stage(folder=Path(folder), journal_folder=self._journal_folder)
        finally:
            self._lock.release()


class Stage:
    """One simulation: a trace that is taken in piece by piece, then the run."""

    def __init__(self, *, folder: Path, journal_folder: Path) -> None:
        self._folder = folder
        self._journal_folder = journal_folder
        self._trace = folder / "trace.jsonl"
        self._size_bytes = 0

    def __repr__(self) -> str:
        return f"<Stage {self._size_bytes} bytes>"

    def take(self, piece: bytes) -> None:
        """Take a piece of the trace; raises DaemonError BAD_CONFIG where it becomes too long."""
        self._size_bytes += len(piece)
        if self._size_bytes > TRACE_BYTES_MAXIMUM:
            words = f"has more than {TRACE_BYTES_MAXIMUM} bytes: cut it into pieces"
            raise bad_config((FieldViolation(field="trace", description=words),))
        with self._trace.open("ab") as file:
            file.write(piece)

    def run(self, policies: Mapping[str, Policy], *, with_rivals: bool, hurry: Callable[[], bool]) -> dict[str, Any]:
        """Return the simulation's document; `hurry` tells that nobody waits for it any more. Raises DaemonError."""
        kept = self._folder / "policies.json"
        kept.write_bytes(TypeAdapter(dict[str, Policy]).dump_json(dict(policies)))
        traces = [self._trace] if self._size_bytes else journal_files(self._journal_folder)
        words = [f"--policies={kept}", *(["--rivals"] if with_rivals else []), *map(str, traces)]
        told: dict[str, Any] = json.loads(_output(words, hurry))
        return told


def _output(words: Sequence[str], hurry: Callable[[], bool]) -> bytes:
    """Run the program and return what it says; raises DaemonError with its complaint."""
    # With -P nothing in the folder that the daemon was started in is taken for a module.
    with subprocess.Popen(  # noqa: S603 - Our own program, with files of our own as words.
        [sys.executable, "-P", "-m", PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, LEAST_PRIORITY)
        try:
            said, complaint = _wait(process, hurry)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        words_of_it = complaint.decode(errors="replace").strip().splitlines()
        description = words_of_it[-1] if words_of_it else f"the simulation ended with {process.returncode}"
        raise bad_config((FieldViolation(field="trace", description=description),))
    return said


def _wait(process: "subprocess.Popen[bytes]", hurry: Callable[[], bool]) -> tuple[bytes, bytes]:
    for _ in range(int(LONGEST_SECONDS)):
        try:
            return process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:
            if hurry():
                break
    raise DaemonError(Reason.AT_CAPACITY, f"the simulation was given up: it may take {LONGEST_SECONDS:g} s at most")
