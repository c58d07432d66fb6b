"""`python -m tests.fakes.odd_engine`: a process in the engine's place that does what an engine should not.

What it does is named by a variable. It keeps to the protocol up to there: it is begun once, and first of all.
"""

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

ODDITY = "GREENROOM_ODD_ENGINE"
DIED_AT_ONCE, DIED_LATE, BROKE_PROTOCOL = 3, 4, 5
PULSE_SECONDS = 0.05


async def live(oddity: str, end: socket.socket) -> int:
    """Live as is named, and return the status."""
    from tts_service.engine_process.channel import Channel  # noqa: PLC0415 - one that dies at once needs none of it.
    from tts_service.engine_process.messages import Begin, Ready, engine_words, front_words  # noqa: PLC0415

    channel = await Channel.over(end, says=engine_words(), hears=front_words())
    first = await channel.heard()
    if not first or not isinstance(first[0], Begin) or any(isinstance(each, Begin) for each in first[1:]):
        return BROKE_PROTOCOL
    if oddity == "never ready":
        await asyncio.Event().wait()
    if oddity == "garbage":
        end.send(bytes(range(256)) * 16)
        await asyncio.Event().wait()
    channel.say(Ready(models=(), voices=(), makes_voices=False, on_gpu=False))
    await channel.drained()
    return await speak(oddity, channel, Begin)


async def speak(oddity: str, channel: Any, begin: type) -> int:
    """Go on after it was ready."""
    from tts_service.engine_process.messages import End, Pulse  # noqa: PLC0415 - as above.

    match oddity:
        case "dies late":
            return DIED_LATE
        case "stops":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "closes":
            channel.hang_up()
            await asyncio.Event().wait()
    listening = asyncio.create_task(heard_of(channel, (End, begin)))
    while oddity == "deaf" or not listening.done():
        for _ in range(2_000 if oddity == "floods" else 1):
            channel.say(Pulse(step_seconds=1e6 if oddity == "never ends a step" else None))
        await channel.drained()
        await asyncio.sleep(0 if oddity == "floods" else PULSE_SECONDS)
    return listening.result()


async def heard_of(channel: Any, kinds: Sequence[type]) -> int:
    """Listen until the end is said or the other side has gone; being begun again is no part of the protocol."""
    end, begin = kinds
    while words := await channel.heard():
        if any(isinstance(each, begin) for each in words):
            return BROKE_PROTOCOL
        if any(isinstance(each, end) for each in words):
            return 0
    return 0


def main() -> None:
    """Live."""
    oddity = os.environ[ODDITY]
    if oddity == "dies at once":
        os._exit(DIED_AT_ONCE)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", type=int)
    given, _ = parser.parse_known_args()
    try:
        sys.exit(asyncio.run(live(oddity, socket.socket(fileno=given.channel))))
    except ConnectionError:
        time.sleep(0 if oddity != "deaf" else 600)


if __name__ == "__main__":
    main()
