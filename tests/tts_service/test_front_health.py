"""Health while engines come and go: each engine's modules are its own."""

import asyncio
import time

from tests.fakes.metered import device_report
from tts_service.config import ServiceConfig
from tts_service.engine_process.messages import Ready
from tts_service.front import Front
from tts_service.late_counts import LateCounts
from tts_service.service_manager import manager_in
from tts_service.types import ModuleName

READY = Ready(models=(), voices=(), makes_voices=False, on_gpu=False)
T3 = ModuleName("t3")


async def reported(front: Front, *broken: ModuleName) -> bool:
    """Have an engine report; return whether the service serves then."""
    front.reported(device_report(), broken, LateCounts())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return front.server.serving


def came_up() -> Front:
    """Return a front end whose first engine has come up."""
    front = Front(ServiceConfig(speech_address="127.0.0.1:0"), (), manager=manager_in({}, time.monotonic))
    front._models = ()
    front.server.serving = True
    return front


async def test_next_engine_with_a_broken_module_turns_health_red_again() -> None:
    """It was red, the engine died and another came: what that one says counts."""
    front = came_up()
    first = await reported(front, T3)
    await front.went()
    await front.came(READY)
    came = front.server.serving
    again = await reported(front, T3)
    mended = await reported(front)

    assert (False, True, False, True) == (first, came, again, mended)


async def test_engine_that_comes_while_the_service_drains_opens_nothing() -> None:
    """Who is on the way out takes nobody in."""
    front = came_up()
    await front.went()
    front.sessions.drain_deadline = time.monotonic() + 60.0
    await front.came(READY)

    assert not front.server.serving
