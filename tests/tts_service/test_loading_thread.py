"""Loading in a thread: its result, its error, and an end in the middle."""

import asyncio
import threading

import pytest

from tts_service.errors import StartupError
from tts_service.load_progress import LoadProgress, StartEndedError
from tts_service.loading_thread import run_loading


async def test_loading_gives_what_the_step_returns_while_the_loop_goes_on() -> None:
    """The step runs beside the loop: it can wait for what only the loop does."""
    seen = threading.Event()
    asyncio.get_running_loop().call_later(0.01, seen.set)
    result = await run_loading(lambda: seen.wait(10.0), stop=asyncio.Event(), progress=LoadProgress())

    assert result is True


async def test_loading_raises_what_the_step_raises() -> None:
    """Bad weights end the start with their own message."""

    def step() -> None:
        raise StartupError("t3.safetensors: is missing")

    with pytest.raises(StartupError, match=r"t3\.safetensors: is missing"):
        await run_loading(step, stop=asyncio.Event(), progress=LoadProgress())


async def test_stop_ends_a_step_that_tells_its_progress() -> None:
    """The step leaves at its next word, before the start is given up."""
    progress, stop, ended = LoadProgress(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def step() -> None:
        tell = progress.stage("making weights")
        loop.call_soon_threadsafe(stop.set)
        try:
            while True:
                tell(1, 2)
        finally:
            ended.set()

    with pytest.raises(StartEndedError):
        await run_loading(step, stop=stop, progress=progress)

    assert ended.is_set()


async def test_stop_does_not_wait_for_ever_for_a_step_that_does_not_hear() -> None:
    """A step that hangs is left behind."""
    stop, hang = asyncio.Event(), threading.Event()
    stop.set()
    with pytest.raises(StartEndedError):
        await run_loading(hang.wait, stop=stop, progress=LoadProgress(), end_seconds=0.05)
    hang.set()

    assert not [thread for thread in threading.enumerate() if thread.name == "loading" and not thread.daemon]


async def test_stop_hides_the_error_that_it_causes() -> None:
    """A step wraps what it hears into errors of its own; an end that was asked for is no failure."""
    progress, stop = LoadProgress(), asyncio.Event()
    stop.set()

    def step() -> None:
        raise StartupError("t3 cannot be loaded: the start was ended")

    with pytest.raises(StartEndedError):
        await run_loading(step, stop=stop, progress=progress)
