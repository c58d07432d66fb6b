"""A real service whose engine is a process of its own, and what is done to that process."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.hurt import eventually
from tools.both import Both
from tts_service.engine_process.process_rules import ENGINE_NAME, SPARE_NAME

OWN = {"GREENROOM_SERVICE_ENGINE__PROCESS": "own", "GREENROOM_SERVICE_LOG_FORMAT": "json"}


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that have not been seen off; none once it has gone."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found


def engines(pid: int) -> list[int]:
    """Return those of its children that are engines: not the spare process, nor a copy of it before it is one."""
    return [
        each for each in children(pid) if "engine_process.spare" not in _command(each) or _name(each) == ENGINE_NAME
    ]


def spares(pid: int) -> list[int]:
    """Return those of its children that are spare processes."""
    return [each for each in children(pid) if _name(each) == SPARE_NAME]


def _name(pid: int) -> str:
    return _told(pid, "comm").strip()


def _command(pid: int) -> str:
    return _told(pid, "cmdline").replace("\0", " ")


def _told(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return ""


def is_there(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits to be seen off does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


class OwnEngine(Both):
    """A service and, if it is started, a daemon."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None, **engine: str) -> None:
        own = {f"GREENROOM_SERVICE_{name}": value for name, value in (settings or {}).items()}
        super().__init__(folder, service_env={**OWN, **own}, **engine)

    @property
    def engine(self) -> int:
        """The engine's process id."""
        (pid,) = engines(self.service.pid)
        return pid

    def hurt_engine(self, number: signal.Signals) -> int:
        """Send the engine a signal; return which process that was."""
        pid = self.engine
        os.kill(pid, number)
        return pid

    def replaced(self, pid: int) -> bool:
        """Wait until another engine than this one speaks."""
        return eventually(lambda: engines(self.service.pid) not in ([], [pid]), within_seconds=60) and self.speaks()

    def speaks(self) -> bool:
        """Wait until health is green."""
        self.wait_serving()
        return True

    def logged(self, event: str) -> int:
        """Return how often something happened, by the log."""
        return self.service.log_path.read_text().count(f'"event": "{event}"')


@contextmanager
def running(service: OwnEngine, *, daemon: bool = False) -> Iterator[OwnEngine]:
    """Run a service for a block, with the daemon if that is wanted."""
    try:
        service.service.start()
        if daemon:
            service.daemon.start()
        service.wait_serving()
        yield service
    finally:
        service.stop()
