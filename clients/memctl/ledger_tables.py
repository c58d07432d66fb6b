"""Predictions and budgets as lines for a terminal. Pure."""

from collections.abc import Iterable

from rich.text import Text

from memctl.format import short_bytes
from memctl.ledger_types import Ledger, PredictionTally

GROUND_WORDS = {"lately_used": "used lately", "time_of_day": "used at this time of day"}


def foresight_lines(tallies: Iterable[PredictionTally]) -> list[Text]:
    """Return a line for each device on which modules came home before anybody asked: why, and how often rightly."""
    by_device: dict[str, list[str]] = {}
    for one in tallies:
        if one.hits or one.misses or one.open:
            by_device.setdefault(one.device, []).append(_tally(one))
    return [
        Text.assemble((f"{device[:10]:<10} ", "bold"), "brought back ahead of need: ", "; ".join(words))
        for device, words in by_device.items()
    ]


def ledger_lines(ledgers: Iterable[Ledger]) -> list[Text]:
    """Return a line for each device that services share: their budgets, and whether their floors are too much."""
    return [_ledger(one) for one in ledgers]


def _tally(one: PredictionTally) -> str:
    waiting = f", {len(one.open)} open" if one.open else ""
    ended = one.hits + one.misses
    return f"{GROUND_WORDS.get(one.ground, one.ground)} {one.hits} of {ended} used{waiting}"


def _ledger(one: Ledger) -> Text:
    budgets = ", ".join(f"{service} {short_bytes(size)}" for service, size in sorted(one.budget_bytes.items()))
    line = Text.assemble((f"{one.device[:10]:<10} ", "bold"), f"budgets: {budgets}")
    if one.overdraft_bytes:
        line.append(f"  floors promise {short_bytes(one.overdraft_bytes)} too much", style="bold red")
    return line
