"""What an engine's process tells of its runs: sums since it told last, over the wire, to who measures the load."""

import asyncio
import contextlib
from typing import Any

from tts_service.engine_process.host_words import PULSE_SECONDS, HostWords
from tts_service.engine_process.messages import Ran, engine_words
from tts_service.scheduling.utilisation import Part


async def test_runs_are_told_once_with_the_next_pulse() -> None:
    """Both lanes' own sums; what was told is not told again, and what comes later is."""
    said, told_again = list[Ran](), asyncio.Event()

    def say(word: Any) -> None:
        if isinstance(word, Ran):
            said.append(word)
            if len(said) > 2:
                told_again.set()

    words = HostWords(say, longest_step=lambda: None)
    for seconds in (0.5, 0.25):
        words.ran(Part.TOKENS, seconds, 0.125)
    words.ran(Part.SOUND, 1.0, 2.0)
    pulse = asyncio.create_task(words.pulse())
    await asyncio.sleep(0)
    first = list(said)
    words.ran(Part.SOUND, 4.0, 8.0)
    await asyncio.wait_for(told_again.wait(), 10 + 10 * PULSE_SECONDS)
    pulse.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await pulse
    vocabulary = engine_words()

    assert [
        Ran(part=Part.TOKENS, seconds=0.75, expected_seconds=0.25),
        Ran(part=Part.SOUND, seconds=1.0, expected_seconds=2.0),
    ] == first
    assert [Ran(part=Part.SOUND, seconds=4.0, expected_seconds=8.0)] == said[2:]
    assert first == vocabulary.read(vocabulary.written(first))
