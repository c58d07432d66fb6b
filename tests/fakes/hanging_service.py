"""`python -m tests.fakes.hanging_service`: the service with the engine of `hanging_engine`."""

from functools import partial

from tts_service import __main__ as command
from tts_service.engine_process.child import EngineChild

if __name__ == "__main__":
    EngineChild.started = partial(EngineChild.started, module="tests.fakes.hanging_engine")
    command.main()
