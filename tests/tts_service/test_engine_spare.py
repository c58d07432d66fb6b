"""The spare process: what it imports, when it must not be copied, and that it leaves nothing behind."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hurt import descriptors
from tests.fakes.own_engine import is_there
from tts_service.engine_process import spare as spares
from tts_service.engine_process.adopted import AdoptedProcess
from tts_service.engine_process.child import LentDescriptors
from tts_service.engine_process.spare import CAPTURED, CHATTERBOX, ENGINE, wanted_imports
from tts_service.engine_process.spare_process import SpareGoneError, SpareProcess


@pytest.fixture
async def spare() -> AsyncIterator[SpareProcess]:
    """Give one that has imported nothing yet."""
    started = await SpareProcess.started()
    yield started
    await started.end()


@pytest.mark.parametrize(
    ("models", "on_gpu", "expected"),
    [
        (["builtin"], False, (ENGINE,)),
        (["english"], False, (ENGINE, CHATTERBOX)),
        (["turbo"], True, (ENGINE, CHATTERBOX, *CAPTURED)),
    ],
)
def test_imports_follow_what_speaks(models: list[str], on_gpu: Any, expected: tuple[str, ...]) -> None:
    """Graphs' kernels where there is a GPU, networks where there is Chatterbox."""
    assert expected == wanted_imports(models, on_gpu=on_gpu)


async def test_spare_with_a_lasting_thread_is_not_copied(spare: SpareProcess) -> None:
    """What a thread was in the middle of would be so for ever in a copy. What cannot be imported is no obstacle."""
    spare.prepare(["no_such_package", "tests.fakes.lasting_thread"])
    async with asyncio.timeout(60):
        while not spare.prepared:  # noqa: ASYNC110  # It tells the log alone.
            await asyncio.sleep(0.01)
    gc.collect()
    before = descriptors("self")
    with socket.socket() as lock, socket.socket() as shelf:
        lent = LentDescriptors(lock=lock.fileno(), shelf=shelf.fileno())
        with pytest.raises(SpareGoneError, match="threads were there"):
            await spare.engine(lent, within_seconds=60)

    assert not spare.is_there
    assert before - 1 >= descriptors("self")


async def test_spare_that_was_killed_says_so_and_is_seen_off() -> None:
    """Whoever asks it hears at once that it has gone."""
    spare = await SpareProcess.started()
    os.kill(spare.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        await spare.gone.wait()
    with pytest.raises(SpareGoneError, match="it has gone"):
        await spare.engine(LentDescriptors(lock=0, shelf=0), within_seconds=1)
    await spare.end()

    assert not is_there(spare.pid)


def test_process_with_a_device_open_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's state is of one process; a copy's would be nobody's."""
    monkeypatch.setattr(spares, "DEVICE_FILES", "/dev/zero")
    without = spares._obstacle()
    with Path("/dev/zero").open("rb"):
        opened = spares._obstacle()

    assert ("", "/dev/zero is open") == (without, opened)


@pytest.mark.parametrize(("word", "expected"), [("exit 3", 3), ("kill -9 $$", -9)])
async def test_adopted_process_ends_with_its_status(word: str, expected: int) -> None:
    """As a process that was started here does, negative for a signal; it leaves nothing to be seen off."""
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", word], {})  # noqa: ASYNC221  # It does not wait.
    process = AdoptedProcess(pid)
    async with asyncio.timeout(20):
        status = await process.wait()
    process.send_signal(signal.SIGKILL)

    assert (expected, expected) == (status, process.returncode)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  # Nor does this.
