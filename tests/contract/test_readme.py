"""What the README says to type works as it stands."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tools.both import Both

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line.removeprefix("$ "), comments=True)
    for block in CONSOLE
    for line in block.splitlines()
    if line.startswith("$ .venv/bin/")
]


def environment(both: Both) -> dict[str, str]:
    """Return an environment in which the defaults are the running processes."""
    return {**os.environ, **both.env, "GREENROOM_SERVER": both.speech_address}


def test_readme_commands_work_in_their_order(both: Both, tmp_path: Path) -> None:
    """Every command that the README shows for running processes exits with 0."""
    codes = {}
    for command in COMMANDS:
        arguments = [str(BIN / Path(command[0]).name), *command[1:]]
        done = subprocess.run(
            arguments, cwd=tmp_path, env=environment(both), capture_output=True, text=True, timeout=60, check=False
        )
        codes[" ".join(command)] = (done.returncode, done.stderr[-500:] if done.returncode else "")

    assert len(COMMANDS) >= 5
    assert dict.fromkeys(codes, (0, "")) == codes


def test_readme_python_example_runs(both: Both, tmp_path: Path) -> None:
    """The Python example prints audio offsets that rise from 0."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example.replace("127.0.0.1:50051", both.speech_address))
    done = subprocess.run(
        [sys.executable, str(script)], env=environment(both), capture_output=True, text=True, timeout=60, check=True
    )
    offsets = [int(line.split()[0]) for line in done.stdout.splitlines()]

    assert offsets[0] == 0
    assert sorted(set(offsets)) == offsets


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"(?:\$ |`)make ([a-z-]+)", README))))
def test_readme_names_only_verbs_that_the_makefile_has(verb: str) -> None:
    """No verb of the README is missing from `make help`."""
    listed = subprocess.run(
        ["make", "-s", "help"],  # noqa: S607  # make from PATH.
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert f"make {verb} " in listed
