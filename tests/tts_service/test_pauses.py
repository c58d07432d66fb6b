"""Restores that nobody waits for leave those who speak in peace."""

from dataclasses import replace

import pytest

from tests.fakes.situations import NO_WISHES, situation
from tts_service.residency import leases as queue
from tts_service.residency.pauses import PAUSE_SECONDS, PAUSE_SHARE, paused_after
from tts_service.residency.placement import Decision, decide
from tts_service.residency.situation import Move, Situation
from tts_service.residency.types import Authority, ModuleState, Tier
from tts_service.residency.wishes import with_placed
from tts_service.types import ModuleName


def _on_device(*, claimed: str = "", moving: str = "", paused_until: float = 0.0, placed: str = "ab") -> Situation:
    """Return modules in host memory beside a device, of which an operator wants some there."""
    wishes = NO_WISHES
    for module in placed:
        wishes = with_placed(wishes, ModuleName(module), Tier.DEVICE)
    made = situation("abcd", wishes=wishes, claimed=claimed)
    residences = tuple(
        replace(each, state=ModuleState.RESTORING, moved_by=Authority.OPERATOR) if each.module in moving else each
        for each in made.residences
    )
    return replace(made, home=Tier.DEVICE, away=Tier.HOST, residences=residences, paused_until_seconds=paused_until)


def _set_out(decision: Decision) -> str:
    return "".join(move.module for move in decision.moves)


@pytest.mark.parametrize(
    ("given", "set_out", "wake_seconds"),
    [
        (_on_device(), "ab", None),
        (_on_device(claimed="d"), "a", None),
        (_on_device(claimed="d", moving="c"), "", None),
        (_on_device(claimed="d", paused_until=10.0), "a", None),
        (_on_device(claimed="d", paused_until=20.0), "", 20.0),
        (_on_device(paused_until=20.0), "ab", None),
    ],
    ids=["nobody speaks", "one at a time", "one is under way", "rested", "rests", "rests, and nobody speaks"],
)
def test_restores_that_nobody_waits_for_rest_while_somebody_speaks(
    given: Situation, set_out: str, wake_seconds: float | None
) -> None:
    """They come one after the other, and what waits is told as a move."""
    decision = decide(given, now_seconds=10.0)
    pending = {(move.module, move.reason) for move in decision.pending}
    late = {(name, "moving") for name in "ab" if name not in set_out}

    assert (set_out, True) == (_set_out(decision), late <= pending)
    assert wake_seconds == decision.wake_seconds


def test_restore_that_somebody_waits_for_never_rests() -> None:
    """Whoever needs a module gets it at once, and evictions wait for nothing either."""
    resting = _on_device(claimed="d", paused_until=20.0, moving="b")
    wanted = queue.ask(resting.leases, queue.Request(ticket=1, modules=frozenset({ModuleName("a")}), holds=True))
    leaving = tuple(replace(each, tier=Tier.DEVICE) if each.module == "c" else each for each in resting.residences)
    wishes = with_placed(resting.wishes, ModuleName("c"), Tier.HOST)
    decision = decide(replace(resting, leases=wanted, residences=leaving, wishes=wishes), now_seconds=10.0)

    assert "ca" == _set_out(decision)


@pytest.mark.parametrize(
    ("authority", "target", "took_seconds", "paused_until_seconds"),
    [
        (Authority.OPERATOR, Tier.DEVICE, 0.001, 10.0 + PAUSE_SECONDS),
        (Authority.DIRECTIVE, Tier.DEVICE, 1.0, 10.0 + PAUSE_SHARE),
        (Authority.DIRECTIVE, Tier.HOST, 1.0, 0.0),
        (Authority.DEMAND, Tier.DEVICE, 1.0, 0.0),
    ],
    ids=["short", "long", "not yet home", "somebody waited"],
)
def test_pause_is_as_long_as_the_restore_asks_for(
    authority: Authority, target: Tier, took_seconds: float, paused_until_seconds: float
) -> None:
    """So the bus and Python's lock are free for most of the time."""
    move = Move(module=ModuleName("a"), source=Tier.DISK, target=target, authority=authority)
    paused = paused_after(_on_device(claimed="d"), move, took_seconds=took_seconds, now_seconds=10.0)

    assert paused_until_seconds == paused.paused_until_seconds
