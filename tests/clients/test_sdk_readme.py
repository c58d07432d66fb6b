"""The examples of the SDK's README run as they stand."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.fakes.fake_speech_service import serving

README = Path(__file__).resolve().parents[2] / "clients" / "python" / "README.md"
RECORDING = "ann.wav"
"""What the examples make voices of."""
ADDRESS = "127.0.0.1:50051"


def blocks(language: str) -> list[str]:
    """Return the README's code in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


async def run(command: list[str], folder: Path, server: str) -> str:
    """Run a command in a folder and return what it says; it must succeed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": path, "GREENROOM_SERVER": server},
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()

    assert (0, command[-1]) == (process.returncode, command[-1]), said.decode()
    return said.decode()


def names_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder."""
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("number", range(len(blocks("python"))))
async def test_python_example_runs(number: int, tmp_path: Path) -> None:
    """Each example is a whole program that ends well and says something."""
    program = blocks("python")[number]
    (tmp_path / RECORDING).write_bytes(bytes(50_000))
    async with serving() as fake:
        said = await run(
            [sys.executable, "-W", "error", "-c", program.replace(ADDRESS, fake.address)], tmp_path, "nowhere"
        )

    assert ADDRESS in program
    assert said


async def test_shell_examples_run(tmp_path: Path) -> None:
    """The commands work one after the other, and the files that they name appear."""
    (tmp_path / RECORDING).write_bytes(bytes(50_000))
    async with serving() as fake:
        for command in blocks("sh"):
            await run(["sh", "-e", "-c", command], tmp_path, fake.address)

    assert {RECORDING, "evening.wav", "piped.ogg", "pipe.wav", "ann-speaks.wav"} == names_in(tmp_path)


def test_readme_has_examples_of_both_kinds() -> None:
    """The tests above have something to run."""
    assert 4 == len(blocks("python"))
    assert 1 == len(blocks("sh"))
