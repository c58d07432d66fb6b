"""An engine's process that hears what it cannot read, or is told to end before it has begun."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tts_service.config import ModelChoice, ServiceConfig
from tts_service.engine_process.child import EngineChild, LentDescriptors
from tts_service.engine_process.configuration import written_config
from tts_service.engine_process.frames import framed
from tts_service.engine_process.messages import Begin, End, Ready

START_SECONDS = 60.0
END_SECONDS = 15.0


@asynccontextmanager
async def started(folder: Path, *words: Any) -> AsyncIterator[EngineChild]:
    """Start an engine with the built-in voice, and say these words right after the one to begin."""
    config = ServiceConfig(
        model=ModelChoice.BUILTIN,
        device="cpu",
        control_socket=folder / "c.sock",
        voice_dir=folder,
        cache_dir=folder,
        log_format="json",
    )
    lock = os.open(folder / "c.sock.lock", os.O_CREAT | os.O_RDWR)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = await EngineChild.started(LentDescriptors(lock=lock, shelf=theirs.fileno()))
    try:
        child.channel.say(Begin(config=written_config(config), settings=()))
        for word in words:
            child.channel.say(word)
        yield child
    finally:
        child.kill()
        await child.wait(END_SECONDS)
        await child.channel.close()
        os.close(lock)
        ours.close()
        theirs.close()


async def heard(child: EngineChild, wanted: Callable[[Any], bool]) -> bool:
    """Listen until an engine says something; tell whether it did, and not ended instead."""
    async with asyncio.timeout(START_SECONDS):
        while (words := await child.channel.heard()) is not None:
            if any(wanted(each) for each in words):
                return True
    return False


async def test_engine_that_cannot_read_what_it_is_told_ends(tmp_path: Path) -> None:
    """It would say that it lives, and do nothing any more: another one takes its place."""
    async with started(tmp_path) as child:
        is_ready = await heard(child, lambda word: isinstance(word, Ready))
        child.channel._writer.write(framed(b"\xc1"))
        status = await child.wait(END_SECONDS)

    assert is_ready
    assert status not in {None, 0}


async def test_engine_hears_what_is_said_with_the_word_to_begin(tmp_path: Path) -> None:
    """Told to end in the same breath, it does not come up first."""
    async with started(tmp_path, End()) as child:
        is_ready = await heard(child, lambda word: isinstance(word, Ready))
        status = await child.wait(END_SECONDS)

    assert not is_ready
    assert 0 == status
