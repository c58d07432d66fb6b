"""`python -m tests.fakes.hanging_engine`: the engine's process, in which a word makes a step that never ends."""

import threading
from typing import Any

from tts_service.engine_process import __main__ as command
from tts_service.speech.builtin_speech import BuiltinSegment

HANGING_WORD = "Unending"

speak = BuiltinSegment.step


def step(segment: BuiltinSegment, leased: Any) -> Any:
    """Speak, or hang as a kernel does: the thread waits, and the event loop goes on."""
    if HANGING_WORD in segment._text:
        threading.Event().wait()
    return speak(segment, leased)


if __name__ == "__main__":
    BuiltinSegment.step = step  # type: ignore[method-assign]  # What it is there for.
    command.main()
