"""Modules that were brought home ahead of need, and whether they were used then.

Pure. A prediction is open until its module is used (a hit), or until it has waited to the end of its time (a miss).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from memory_daemon.types import ModuleName, ServiceName

Named = tuple[ServiceName, ModuleName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One module that is expected to be used before a time; `uses` is its count when it was predicted."""

    service: ServiceName
    module: ModuleName
    uses: int
    until_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Predictions that are open, and how many came true, or did not."""

    open: tuple[Prediction, ...] = field(default=())
    hits: int = 0
    misses: int = 0


def predicted(predictions: Predictions, one: Prediction) -> Predictions:
    """Return the predictions with one more; a module has at most one."""
    others = tuple(known for known in predictions.open if (known.service, known.module) != (one.service, one.module))
    return Predictions(open=(*others, one), hits=predictions.hits, misses=predictions.misses)


def judged(predictions: Predictions, uses: Mapping[Named, int], now_seconds: float) -> Predictions:
    """Return the predictions after looking at how often each module has been used by now."""
    hits = [one for one in predictions.open if uses.get((one.service, one.module), 0) > one.uses]
    late = [one for one in predictions.open if one not in hits and now_seconds >= one.until_seconds]
    if not hits and not late:
        return predictions
    return Predictions(
        open=tuple(one for one in predictions.open if one not in hits and one not in late),
        hits=predictions.hits + len(hits),
        misses=predictions.misses + len(late),
    )
