"""An operator's desk: a folder with sockets, a fake daemon and a fake service behind them, and `memctl` to type."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from memctl.app import build_app
from tests.fakes.fake_governed_service import FakeService
from tests.fakes.fake_policy_service import HOLDER, FakeDaemon, serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command printed, and its exit code."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The answer as JSON: exactly one line."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def error(self) -> Any:
        """The error as JSON: exactly one line."""
        (line,) = self.err.splitlines()
        return json.loads(line)["error"]


class Desk:
    """Sockets in a folder of their own; `daemon` and `service` are behind them while they are served."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.policy_socket = folder / "policy.sock"
        self.service = FakeService(governor=HOLDER)
        self.daemon = FakeDaemon(self.service)
        self._stack = stack

    def serve_daemon(self) -> FakeDaemon:
        """Serve the daemon until the desk is left."""
        self._stack.enter_context(serving(self.policy_socket, self.daemon))
        return self.daemon

    def serve_service(self, service: FakeService | None = None) -> FakeService:
        """Serve a service, the desk's own unless another is given, until the desk is left."""
        service = service or self.service
        self._stack.enter_context(serving(self.service_socket(service.name), service))
        return service

    def service_socket(self, name: str) -> Path:
        """Return where a service listens."""
        return self.folder / "services" / f"{name}.sock"

    def type(self, *words: str, columns: int = 100) -> Answer:
        """Run `memctl` with these words on this desk's sockets."""
        environment = {"COLUMNS": str(columns), "NO_COLOR": None, "TERM": "dumb"}
        result = CliRunner().invoke(build_app(), ["--socket", str(self.policy_socket), *words], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(exit_code=result.exit_code, out=result.stdout, err=result.stderr)

    def __repr__(self) -> str:
        return f"<Desk {self.folder}>"


@contextmanager
def desk() -> Iterator[Desk]:
    """Give a desk in a folder whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="mc") as folder, ExitStack() as stack:
        yield Desk(Path(folder), stack)
