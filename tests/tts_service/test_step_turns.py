"""Turns of speech where modules do not all fit: first come, first served, and nobody is forgotten."""

import asyncio
from collections.abc import Callable

import pytest

from tts_service.abandonment import StepAbandonedError
from tts_service.step_turns import StepTurns
from tts_service.types import ModuleName

A, B, C = (frozenset({ModuleName(name)}) for name in "abc")
PATIENCE_SECONDS = 10.0


class Speaker:
    """Somebody who has a turn until told to end it."""

    def __init__(self, turns: StepTurns, modules: frozenset[ModuleName], log: list[str], name: str) -> None:
        self.stop: Callable[[], object] = lambda: None
        self.then: Callable[[], object] = lambda: None
        self.task = asyncio.create_task(self._speak(turns, modules, log, name))
        self._over = asyncio.Event()

    async def _speak(self, turns: StepTurns, modules: frozenset[ModuleName], log: list[str], name: str) -> None:
        async with turns.turn(modules, on_wait=self._keep):
            log.append(name)
            await self._over.wait()
        self.then()

    def _keep(self, stop: Callable[[], object]) -> None:
        self.stop = stop

    async def end(self) -> None:
        """End the turn."""
        self._over.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.task
        await _rest()

    def __repr__(self) -> str:
        return f"<Speaker {self.task!r}>"


async def _rest() -> None:
    """Let everybody come as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


def _holds_one(modules: frozenset[ModuleName]) -> bool:
    return len(modules) <= 1


async def test_turns_come_at_once_where_everything_fits() -> None:
    """Nobody waits for anybody."""
    turns, log = StepTurns(lambda _: True), list[str]()
    speakers = [Speaker(turns, modules, log, name) for modules, name in ((A, "a"), (B, "b"))]
    await _rest()
    now = list(log)
    for each in speakers:
        await each.end()

    assert ["a", "b"] == now
    assert "<StepTurns 0 have one | 0 wait>" == repr(turns)


async def test_modules_that_do_not_fit_together_take_turns_in_order() -> None:
    """Whoever has the same modules shares a turn, but does not pass those who wait."""
    turns, log = StepTurns(_holds_one), list[str]()
    first, again, other, late = (
        Speaker(turns, modules, log, name) for modules, name in ((A, "a1"), (A, "a2"), (B, "b"), (A, "a3"))
    )
    await _rest()
    heard = [list(log)]
    for each in (first, again, other, late):
        await each.end()
        heard.append(list(log))

    assert [["a1", "a2"], ["a1", "a2"], ["a1", "a2", "b"], ["a1", "a2", "b", "a3"]] == heard[:4]


async def test_modules_that_fit_nowhere_have_a_turn_alone() -> None:
    """They are refused elsewhere, with what they need; here nobody waits for ever."""
    turns, log = StepTurns(lambda _: False), list[str]()
    first, second = Speaker(turns, A, log, "a"), Speaker(turns, B, log, "b")
    await _rest()
    before = list(log)
    await first.end()
    await second.end()

    assert (["a"], ["a", "b"]) == (before, log)


async def test_wait_that_is_given_up_lets_those_behind_it_pass() -> None:
    """They may fit where it did not."""
    turns, log = StepTurns(_holds_one), list[str]()
    first, second, third = (Speaker(turns, modules, log, name) for modules, name in ((A, "a"), (B, "b"), (A, "c")))
    await _rest()
    second.stop()
    with pytest.raises(StepAbandonedError):
        await second.task
    await _rest()
    heard = list(log)
    await first.end()
    await third.end()

    assert ["a", "c"] == heard
    assert "<StepTurns 0 have one | 0 wait>" == repr(turns)


async def test_task_that_is_cancelled_while_it_waits_has_no_turn() -> None:
    """The next one does."""
    turns, log = StepTurns(_holds_one), list[str]()
    first, second, third = (Speaker(turns, modules, log, name) for modules, name in ((A, "a"), (B, "b"), (C, "c")))
    await _rest()
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    await first.end()
    heard = list(log)
    await third.end()

    assert ["a", "c"] == heard
    assert "<StepTurns 0 have one | 0 wait>" == repr(turns)


async def test_turn_that_comes_as_its_task_is_cancelled_goes_on_to_the_next() -> None:
    """Nobody has it, and nobody waits for it for ever."""
    turns, log = StepTurns(_holds_one), list[str]()
    first, second, third = (Speaker(turns, modules, log, name) for modules, name in ((A, "a"), (B, "b"), (C, "c")))
    await _rest()
    # At the end of the first turn the second one has come, and its task has not run yet.
    first.then = second.task.cancel
    await first.end()
    await asyncio.gather(second.task, return_exceptions=True)
    await _rest()
    heard = list(log)
    await third.end()

    assert (["a", "c"], True) == (heard, second.task.cancelled())
    assert "<StepTurns 0 have one | 0 wait>" == repr(turns)


async def test_turn_ends_with_an_error_too() -> None:
    """What fails in a turn does not keep it."""
    turns = StepTurns(_holds_one)
    with pytest.raises(ValueError, match="on purpose"):
        async with turns.turn(A, on_wait=lambda _: None):
            raise ValueError("on purpose")
    async with asyncio.timeout(PATIENCE_SECONDS), turns.turn(B, on_wait=lambda _: None):
        state = repr(turns)

    assert "<StepTurns 1 have one | 0 wait>" == state
