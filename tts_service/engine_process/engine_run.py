"""Runs the engine in this process, from its configuration to its end. To import it is what takes a start so long."""

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import structlog
import uvloop

from tts_service.engine_process.channel import Channel
from tts_service.engine_process.configuration import read_config
from tts_service.engine_process.host import EngineHost
from tts_service.engine_process.master_shelf import ShelfLine
from tts_service.engine_process.messages import Begin, CannotStart, engine_words, front_words
from tts_service.engine_process.process_rules import ENGINE_NAME, leave_signals_alone, name_process
from tts_service.errors import StartupError
from tts_service.event_log import configure_logging
from tts_service.load_progress import StartEndedError
from tts_service.machine import settle_computing
from tts_service.process_settings import SWITCH_SECONDS, settle_libraries

STARTUP_FAILED: Final = 1

_log = structlog.get_logger(__name__)


def run_engine(*, channel: int, lock: int, shelf: int, masters: Mapping[int, int]) -> int:
    """Run it over these descriptors, and return its status. `masters` gives this process's for the front end's."""
    name_process(ENGINE_NAME)
    settle_libraries(os.environ)
    end, line = socket.socket(fileno=channel), socket.socket(fileno=shelf)
    return uvloop.run(_serve(end, lock, ShelfLine(line), masters))


async def _serve(end: socket.socket, lock: int, shelf: ShelfLine, masters: Mapping[int, int]) -> int:
    channel = await Channel.over(end, says=engine_words(), hears=front_words())
    begin, *heard = [*(await channel.heard() or ()), None]
    if not isinstance(begin, Begin):
        return 0  # The front end has gone, or its start has ended.
    lent = tuple(replace(each, descriptor=masters[each.descriptor]) for each in begin.masters)
    config = read_config(begin.config)
    configure_logging(config)
    sys.setswitchinterval(SWITCH_SECONDS)
    settle_computing()
    try:
        host = EngineHost(config, replace(begin, masters=lent), channel, lock=lock, shelf=shelf, heard=heard[:-1])
        await host.run(on_loaded=leave_signals_alone)
    except StartEndedError:
        _log.info("ended_while_starting")
    except StartupError as error:
        channel.say(CannotStart(message=str(error)))
        return STARTUP_FAILED
    finally:
        await channel.close()
    return 0
