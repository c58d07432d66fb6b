"""`make run` and `make demo`: both come up, neither outlives its command, and the two leave each other alone."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tools.both import free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MODULES = {"tts_service", "memory_daemon"}

INTERRUPTED_COMMAND = """
import signal
import sys
from tools.process import Interrupted, end_on_signals
end_on_signals()
try:
    exec("import signal; signal.raise_signal(signal.SIGINT)")
except Interrupted:
    print("caught")
    sys.exit(3)
"""


def user_environment(home: Path) -> dict[str, str]:
    """Return the environment of a user who has set nothing."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "GREENROOM_"))}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "120"}


class Run:
    """`make run` for a user of its own: home, sockets and port are private; what it says goes to a file."""

    def __init__(self, folder: Path, runtime_dir: Path, cache_dir: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.said_path = folder / "said.txt"
        self.address = f"127.0.0.1:{free_port()}"
        self.env = user_environment(self.home) | {
            "XDG_RUNTIME_DIR": str(runtime_dir),
            "XDG_CACHE_HOME": str(cache_dir),
        }
        with self.said_path.open("wb") as said:
            self.command = subprocess.Popen(
                [sys.executable, "-m", "tools.run_both"],
                env={**self.env, "GREENROOM_SERVICE_SPEECH_ADDRESS": self.address},
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        self.children: dict[str, psutil.Process] = {}

    @property
    def said(self) -> str:
        """What it said so far."""
        return self.said_path.read_text()

    def until(self, holds: Callable[[], bool], within_seconds: float = 60.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + within_seconds
        while not holds():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def ready(self) -> None:
        """Wait until it says that both run."""
        self.started()
        self.until(lambda: "Both are running." in self.said or self.command.poll() is not None)

    def started(self) -> None:
        """Wait until it has started both, and note them by their modules."""
        self.until(lambda: set(self._found()) == MODULES or self.command.poll() is not None)
        self.children = self._found()

    def _found(self) -> dict[str, psutil.Process]:
        found = psutil.Process(self.command.pid).children()
        return {line[-1]: child for child in found if (line := child.cmdline()) and line[-1] in MODULES}

    def left(self) -> list[str]:
        """Return which children still run."""
        alive = psutil.wait_procs(list(self.children.values()), timeout=10)[1]
        return [name for name, child in self.children.items() if child in alive]

    def memctl(self, *arguments: str) -> Any:
        """Return what memctl prints about it."""
        command = [str(BIN / "memctl"), *arguments, "--json"]
        return json.loads(subprocess.run(command, env=self.env, capture_output=True, timeout=60, check=True).stdout)

    def end(self) -> None:
        """Leave nothing running."""
        for child in self.children.values():
            if child.is_running():
                child.kill()
        self.command.kill()
        self.command.wait(10)


@contextlib.contextmanager
def running(factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Start `make run`; leave nothing of it behind."""
    run = Run(factory.mktemp("run"), factory.mktemp("r"), factory.getbasetemp() / "cache")
    try:
        yield run
    finally:
        run.end()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Give a `make run` that has said its word and goes on through all tests of this file."""
    with running(tmp_path_factory) as run:
        run.ready()
        yield run


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Give a `make run` that a test may end."""
    with running(tmp_path_factory) as run:
        yield run


def test_run_told_to_end_leaves_no_process_behind(run: Run) -> None:
    """SIGTERM ends the command and both of its processes."""
    run.ready()
    run.command.terminate()
    status = run.command.wait(40)

    assert "Both are running." in run.said
    assert 128 + signal.SIGTERM == status
    assert (MODULES, []) == (set(run.children), run.left())


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGHUP, 128 + signal.SIGHUP), (signal.SIGINT, 0)])
def test_run_told_to_end_while_it_starts_leaves_no_process_behind(run: Run, number: int, expected: int) -> None:
    """A closed terminal or Ctrl-C ends what has been started so far; Ctrl-C is success."""
    run.started()
    run.command.send_signal(number)
    status = run.command.wait(40)

    assert (expected, False) == (status, "Both are running." in run.said), run.said
    assert (MODULES, []) == (set(run.children), run.left())


def test_interrupted_command_that_executes_a_string_ends_with_its_own_status(tmp_path: Path) -> None:
    """A command that catches Ctrl-C keeps its status, also if it came while Python executed a string."""
    (tmp_path / "interrupted_command.py").write_text(INTERRUPTED_COMMAND)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "interrupted_command"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert (3, "caught\n") == (done.returncode, done.stdout), done.stderr


def test_run_whose_daemon_dies_shows_its_log_and_stops_the_service(run: Run) -> None:
    """A process that ends by itself ends the command with status 1, the end of its log, and the other process."""
    run.ready()
    run.children["memory_daemon"].kill()
    status = run.command.wait(40)

    assert 1 == status
    assert "memory-daemon ended with status -9" in run.said
    assert [] == run.left()


def test_run_says_its_word_only_when_the_service_is_governed(ready: Run) -> None:
    """What it says to type works at once, at the address it runs on; its logs are where it says."""
    services = ready.memctl("services")
    logs = re.findall(r"(/\S+\.log)", ready.said)

    assert f"--server {ready.address}" in ready.said
    assert "default" in json.dumps(services)
    assert [ready.home / ".local/state/greenroom/logs" / f"{m}.log" for m in ("tts_service", "memory_daemon")] == [
        Path(log) for log in logs
    ]


def test_run_with_its_address_taken_says_so_and_starts_nothing(ready: Run) -> None:
    """A second run on the same address is refused, and the first one's logs stay."""
    log_path = ready.home / ".local/state/greenroom/logs/tts_service.log"
    before = log_path.read_text()
    second = subprocess.run(
        [sys.executable, "-m", "tools.run_both"],
        env={**ready.env, "GREENROOM_SERVICE_SPEECH_ADDRESS": ready.address},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 1 == second.returncode
    assert f"something listens on {ready.address} already" in second.stderr
    assert log_path.read_text().startswith(before)


def test_demo_beside_a_run_shows_what_it_promises_and_touches_nothing_else(ready: Run, tmp_path: Path) -> None:
    """The demo ends well from modules at home, keeps all it makes in its folder, and a running daemon its policy."""
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    policy = ready.memctl("get")["policy"]
    done = subprocess.run(
        [sys.executable, "-m", "clients.demo"],
        cwd=folder,
        env={**user_environment(home), "XDG_RUNTIME_DIR": ready.env["XDG_RUNTIME_DIR"]},
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )

    assert (0, "") == (done.returncode, "" if done.returncode == 0 else done.stdout[-2000:] + done.stderr[-2000:])
    assert "host: voice, watermark.encoder" in tiers_before_the_first_recording(done.stdout)
    assert [] == sorted(home.rglob("*"))
    assert ["demo-out"] == [path.name for path in folder.iterdir()]
    assert {"first.wav", "second.wav", "run"} == {path.name for path in (folder / "demo-out").iterdir()}
    assert policy == ready.memctl("get")["policy"]


def test_demo_with_a_model_and_weights_speaks_with_them(tmp_path: Path) -> None:
    """What `make demo MODEL=... WEIGHTS=...` passes on reaches the service; what leaves are its modules."""
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "clients.demo", "--model", "english", "--weights", "synthetic:tiny"],
        cwd=tmp_path,
        env=user_environment(home),
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )
    gone = next((line for line in done.stdout.splitlines() if "left:" in line), "")

    assert (0, "") == (done.returncode, "" if done.returncode == 0 else done.stdout[-2000:] + done.stderr[-2000:])
    assert "it speaks with the model english" in done.stdout
    assert {"s3gen.flow", "s3gen.vocoder", "t3"} & set(re.findall(r"[a-z0-9._]+", gone))


def tiers_before_the_first_recording(table: str) -> str:
    """Return the first recording's cell of the row of modules before."""
    row = table[table.index("modules before") : table.index("modules after")]
    return " ".join(line.split("\u2502")[-3].strip() for line in row.splitlines() if line.count("\u2502") > 1)
