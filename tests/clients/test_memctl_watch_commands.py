"""`memctl top` and `memctl watch` in pipes, and the command line as a whole."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from memctl.app import COMMANDS, build_app
from memctl.bars import ASCII, BLOCKS
from memctl.watch_commands import canvas_of
from tests.fakes.memctl_desk import Desk
from tests.fakes.memctl_desk import desk as open_desk

ESCAPE = "\x1b"


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk with a daemon and a service."""
    with open_desk() as one:
        one.serve_daemon()
        one.serve_service()
        yield one


@pytest.mark.parametrize("words", [["top", "--once"], ["top"]], ids=" ".join)
@pytest.mark.parametrize("columns", [80, 200])
def test_top_without_a_terminal_prints_one_frame(desk: Desk, words: list[str], columns: int) -> None:
    """In a pipe one frame is printed, as with --once, as wide as COLUMNS says."""
    answer = desk.type(*words, columns=columns)
    bar = next(line for line in answer.out.splitlines() if line.startswith("host "))

    assert (0, "", columns) == (answer.exit_code, answer.err, len(bar))
    assert ESCAPE not in answer.out
    assert all(name in answer.out for name in ("box-1", "voice", "Critical 410 MiB", "no decisions yet"))


def test_top_as_json_is_a_status(desk: Desk) -> None:
    """--json makes the frame a document, the same as a line of `watch`."""
    told = desk.type("top", "--json").document

    assert set(desk.type("watch", "--json", "--count", "1").document) == set(told)
    assert "room" == told["devices"][0]["pressure"]


def test_watch_prints_one_object_a_line(desk: Desk) -> None:
    """Each tick is one JSON object with all of the status, and --count ends it."""
    answer = desk.type("watch", "--json", "--count", "3")
    lines = [json.loads(line) for line in answer.out.splitlines()]

    assert (0, 3) == (answer.exit_code, len(lines))
    assert {
        "unix_seconds",
        "holder_id",
        "devices",
        "services",
        "overrides",
        "decisions",
        "policy",
        "freeze",
        "predictions",
        "ledgers",
    } == set(lines[0])
    assert sorted(line["unix_seconds"] for line in lines) == [line["unix_seconds"] for line in lines]


def test_watch_for_people_is_one_line_a_tick(desk: Desk) -> None:
    """Without --json a tick is a line with memory and how many modules are home."""
    lines = desk.type("watch", "--count", "2", columns=40).out.splitlines()

    assert [True, True] == [line.endswith("host room 3.0 GiB free  3 of 3 modules home") for line in lines]


def test_watch_ends_when_the_daemon_does(desk: Desk) -> None:
    """A daemon that stops ends the watch with exit code 3 and a word on stderr."""
    desk.daemon.end()
    answer = desk.type("watch", "--json")

    assert 3 == answer.exit_code
    assert "SOCKET_LOST" == json.loads(answer.err)["error"]["reason"]


def test_watch_tells_memory_that_cannot_be_read(desk: Desk) -> None:
    """A failed reading is in the line, and null is never taken for zero."""
    desk.daemon.read_error = "GPU is lost"

    assert "host unknown GPU is lost" in desk.type("watch", "--count", "1").out


@pytest.mark.parametrize(("encoding", "glyphs"), [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII)])
def test_canvas_has_blocks_only_where_the_encoding_has_them(encoding: str, glyphs: object) -> None:
    """A terminal that is not UTF-8 gets a bar of plain characters."""
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding), width=80)

    assert glyphs is canvas_of(console, height=None).glyphs


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples(name: str) -> None:
    """--help of each command has a sentence, examples that begin with its name, and the shared options."""
    result = CliRunner().invoke(build_app(), [name, "--help"], env={"COLUMNS": "100", "NO_COLOR": "1"})

    assert 0 == result.exit_code
    assert "Examples:" in result.stdout
    assert f"memctl {name}" in result.stdout.split("Examples:")[1]
    assert all(option in result.stdout for option in ("--socket", "--service", "--timeout", "--json", "--help"))


def test_help_tells_the_exit_codes() -> None:
    """What a script may rely on stands in the first help."""
    result = CliRunner().invoke(build_app(), ["-h"], env={"COLUMNS": "200", "NO_COLOR": "1"})

    assert (
        "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody to reach, 130 interrupted." in result.stdout
    )
    assert all(name in result.stdout for name in COMMANDS)


def test_version_is_the_packages() -> None:
    """--version prints name and version and needs nobody."""
    result = CliRunner().invoke(build_app(), ["--version"])

    assert (0, f"memctl {version('greenroom')}\n") == (result.exit_code, result.stdout)


@pytest.mark.parametrize(
    "words",
    [
        ["fly"],
        ["get", "everything"],
        ["evict"],
        ["top", "--twice"],
        ["get", "--timeout", "soon"],
        ["get", "--timeout=0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_two(desk: Desk, words: list[str]) -> None:
    """What no command understands is told as usage, before anybody is asked."""
    answer = desk.type(*words)

    assert (2, []) == (answer.exit_code, desk.daemon.requests)
    assert "Usage:" in answer.err


def test_process_has_the_exit_code_and_keeps_its_streams_apart(tmp_path: Path) -> None:
    """As a process of its own, the command answers on stdout, complains on stderr, and exits with its code."""
    done = subprocess.run(
        [sys.executable, "-m", "memctl", "--socket", str(tmp_path / "x.sock"), "get"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )

    assert (3, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("memctl: No memory daemon is running here")


def test_process_finds_the_socket_in_the_runtime_folder() -> None:
    """Without --socket the daemon is looked for where it listens by default; a terminal is not needed, nor torch."""
    with open_desk() as desk:
        desk.policy_socket = desk.folder / "greenroom" / "policy.sock"
        desk.serve_daemon()
        code = "import sys; from memctl.__main__ import main; sys.argv[1:] = ['get', '--json']\ntry: main()\n"
        code += "finally: print('torch' in sys.modules, file=sys.stderr)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "XDG_RUNTIME_DIR": str(desk.folder)},
        )

    assert (0, "False\n") == (done.returncode, done.stderr)
    assert 1 == json.loads(done.stdout)["policy"]["revision"]
