"""The spare process: it has imported what engines are made of, and an engine begins as its copy; not for people.

Rules, without which a copy of a process is no sound one
* It has one thread when it is copied: nothing else holds a lock or is in the middle of anything. What is imported at
  low priority has a thread that ends first. Libraries for matrices have threads of their own, which they end
  themselves before a copy is made. If more than one thread is left right after it, the copy is killed, and this ends.
* It never computes, speaks gRPC, opens a device or has an event loop: none of that survives being copied.
* It was started, not copied, from the front end, so that nothing of the front end's is in it.
* A copy's parent ends at once, so that the front end becomes its parent: it then sees the engine's end as it sees
  that of any engine, and the spare's end is none of the engine's.

On the line are words of JSON: `fork`, with descriptors, and `prepare` are said to it; `pid`, `prepared`, `lacks` and
`refused` by it.
"""

import argparse
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tts_service.engine_process.process_rules import SPARE_NAME, die_with, leave_signals_alone, name_process
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.process_settings import settle_libraries
from tts_service.residency.process_memory import ProcessMemory

MOST_WORD_BYTES: Final = 4_096
MOST_DESCRIPTORS: Final = 128
MOST_REASON: Final = 500
LOWEST_PRIORITY: Final = 19

ENGINE: Final = "tts_service.engine_process.engine_run"
"""What every engine needs, and what takes the longest."""

CHATTERBOX: Final = "tts_service.models.chatterbox.packages"
CAPTURED: Final = (
    "tts_service.speech.captured.t3_kernels",
    "tts_service.speech.captured.t3_choosing",
    "tts_service.speech.captured.t3_following",
    "tts_service.speech.captured.vocoder_kernels",
    "tts_service.speech.captured.source_kernels",
)

ADOPTION_SECONDS: Final = 5.0
DEVICE_FILES: Final = "/dev/nvidia"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """What a copy is lent by the front end; `masters` has this process's descriptors for the front end's."""

    channel: int
    lock: int
    shelf: int
    masters: Mapping[int, int]


class Spare:
    """Does what is said on its line until the front end has gone. `front` is that process."""

    def __init__(self, line: socket.socket, *, front: int) -> None:
        self._line = line
        self._front = front
        self._wanted: deque[str] = deque()
        self._preparing = False
        self._began_seconds = 0.0

    def serve(self) -> Lent | None:
        """Return None when the front end has gone, and, in a copy, what it is lent."""
        while True:
            if self._preparing and not select.select([self._line], [], [], 0)[0]:
                self._prepare_one()
                continue
            word, descriptors = self._heard()
            if word is None:
                return None
            if "prepare" in word:
                self._wanted = deque(map(str, word["prepare"]))
                self._preparing, self._began_seconds = True, time.monotonic()
            elif "fork" in word:
                lent = self._fork(word["fork"], descriptors)
                if lent is not None:
                    return lent

    def _heard(self) -> tuple[dict[str, Any] | None, Sequence[int]]:
        data, descriptors, _, _ = socket.recv_fds(
            self._line, MOST_WORD_BYTES, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        return (json.loads(data) if data else None), descriptors

    def _say(self, **word: Any) -> None:
        self._line.send(json.dumps(word).encode())

    # --- imports ------------------------------------------------------------------------------------------------

    def _prepare_one(self) -> None:
        """Import the next of what is wanted, at the lowest priority, or say that this was all."""
        if not self._wanted:
            self._preparing = False
            self._say(prepared=round(time.monotonic() - self._began_seconds, 2))
            return
        name = self._wanted.popleft()
        errors: list[str] = []
        importing = threading.Thread(target=_import_low, args=(name, errors), name="importing")
        importing.start()
        importing.join()
        for error in errors:
            self._say(lacks=name, reason=error)

    # --- copies -------------------------------------------------------------------------------------------------

    def _fork(self, names: Mapping[str, Any], descriptors: Sequence[int]) -> Lent | None:
        """Return in the copy what it is lent, None in this process."""
        import_named(ENGINE)
        obstacle = _obstacle()
        if obstacle:
            self._refuse(obstacle, descriptors)
        pid = _copied()
        if pid is None:
            self._line.close()
            _await_parent(self._front)
            die_with(self._front)
            masters = dict(zip(map(int, names["masters"]), descriptors[3:], strict=True))
            return Lent(channel=descriptors[0], lock=descriptors[1], shelf=descriptors[2], masters=masters)
        threads = thread_count()
        if threads > 1:
            os.kill(pid, signal.SIGKILL)
            self._refuse(f"{threads} threads were there", descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._say(pid=pid)
        return None

    def _refuse(self, reason: str, descriptors: Sequence[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
        self._say(refused=reason)
        sys.exit(1)

    def __repr__(self) -> str:
        return f"<Spare {'prepares' if self._preparing else 'waits'} | {len(self._wanted)} imports wanted>"


def main() -> None:
    """Run the spare process, and, in each of its copies, an engine."""
    parser = argparse.ArgumentParser(description="The spare process of tts-service, which starts it.")
    for name in ("line", "parent"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    die_with(given.parent)
    leave_signals_alone()
    name_process(SPARE_NAME)
    settle_libraries(os.environ)
    ProcessMemory()  # One heap, asked for before there is a thread; copies inherit that.
    lent = Spare(socket.socket(fileno=given.line), front=given.parent).serve()
    if lent is None:
        return
    run_engine = importlib.import_module(ENGINE).run_engine
    sys.exit(run_engine(channel=lent.channel, lock=lent.lock, shelf=lent.shelf, masters=lent.masters))


def wanted_imports(models: Sequence[str], *, on_gpu: bool) -> tuple[str, ...]:
    """Return what engines of these models import, and may be imported before a copy is made.

    Not onnxruntime, which the built-in voice needs: importing it begins a thread.
    """
    if not any(model in set(ChatterboxModel) for model in models):
        return (ENGINE,)
    return (ENGINE, CHATTERBOX, *(CAPTURED if on_gpu else ()))


def import_named(name: str) -> None:
    """Import something, and of Chatterbox's packages what networks are made from."""
    found = importlib.import_module(name)
    if name == CHATTERBOX:
        found.import_networks(lambda: None)


def thread_count() -> int:
    """Return how many threads this process has."""
    return len(list(Path("/proc/self/task").iterdir()))


def _import_low(name: str, errors: list[str]) -> None:
    # The thread's alone: a process cannot raise its priority again without privileges.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
    try:
        import_named(name)
    except Exception as error:  # noqa: BLE001  # An engine that needs it says so in its own words.
        errors.append(repr(error)[:MOST_REASON])


def _obstacle() -> str:
    """Return why this process must not be copied, empty if it may."""
    links = (str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink())
    opened = sorted({each for each in links if each.startswith(DEVICE_FILES)})
    return f"{opened[0]} is open" if opened else ""


def _copied() -> int | None:
    """Return the copy's process id, None in the copy. The one between them ends, so that the copy is adopted."""
    gc.collect()
    gc.freeze()  # A collection in a copy would write to all that it shares with this process.
    told, tells = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid:
            os.write(tells, str(pid).encode())
            os._exit(0)
        os.close(told)
        os.close(tells)
        return None
    os.close(tells)
    with os.fdopen(told, "rb") as pipe:
        pid = int(pipe.read())
    os.waitpid(between, 0)
    return pid


def _await_parent(front: int) -> None:
    """Wait until the front end is this process's parent."""
    deadline = time.monotonic() + ADOPTION_SECONDS
    while os.getppid() != front and time.monotonic() < deadline:
        time.sleep(0.001)


if __name__ == "__main__":
    main()
