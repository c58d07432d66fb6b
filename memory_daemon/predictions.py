"""Modules that were brought home before anybody asked for them, and whether they were used then.

Pure. A prediction is open until its module is used (a hit), until it has left home again unused, or until it has waited
to the end of its time (both a miss). What it rests on is its ground, and each ground has a tally of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from memory_daemon.modules import ModuleHistory
from memory_daemon.types import ModuleName, ServiceName

Named = tuple[ServiceName, ModuleName]


class Ground(Enum):
    """What a prediction rests on."""

    LATELY_USED = "lately_used"
    TIME_OF_DAY = "time_of_day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One module that is expected to be used before a time.

    `uses` is its count when it was predicted, or after its service began anew; `came` that it has been home since.
    """

    service: ServiceName
    module: ModuleName
    ground: Ground
    uses: int
    until_unix_seconds: float
    came: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many predictions came true, and how many did not."""

    hits: int = 0
    misses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a prediction ended."""

    prediction: Prediction
    hit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Predictions that are open, tallies by ground, and what the last look has ended."""

    open: tuple[Prediction, ...] = ()
    tallies: Mapping[Ground, Tally] = field(default_factory=dict)
    ended: tuple[Verdict, ...] = ()

    @property
    def hits(self) -> int:
        """How many came true."""
        return sum(tally.hits for tally in self.tallies.values())

    @property
    def misses(self) -> int:
        """How many did not."""
        return sum(tally.misses for tally in self.tallies.values())

    @property
    def made(self) -> int:
        """How many there were."""
        return self.hits + self.misses + len(self.open)


def predicted(predictions: Predictions, one: Prediction) -> Predictions:
    """Return the predictions with one more; a module has at most one, and a new one is the old one made longer."""
    others = tuple(known for known in predictions.open if _name(known) != _name(one))
    return replace(predictions, open=(*others, one))


def judged(predictions: Predictions, histories: Mapping[Named, ModuleHistory], now_unix_seconds: float) -> Predictions:
    """Return the predictions after a look at each module; one whose service is gone waits for it to come back."""
    still: list[Prediction] = []
    ended: list[Verdict] = []
    for one in predictions.open:
        history = histories.get(_name(one))
        seen = one if history is None else _seen(one, history)
        if history is not None and history.uses > seen.uses:
            ended.append(Verdict(prediction=seen, hit=True))
        elif now_unix_seconds >= one.until_unix_seconds or (history is not None and seen.came and not history.at_home):
            ended.append(Verdict(prediction=seen, hit=False))
        else:
            still.append(seen)
    if not ended and not predictions.ended and tuple(still) == predictions.open:
        return predictions
    return counted(replace(predictions, open=tuple(still)), tuple(ended))


def counted(predictions: Predictions, ended: tuple[Verdict, ...]) -> Predictions:
    """Return the predictions with these counted, each once."""
    tallies = dict(predictions.tallies)
    for verdict in ended:
        tally = tallies.get(verdict.prediction.ground, Tally())
        hits, misses = tally.hits + verdict.hit, tally.misses + (not verdict.hit)
        tallies[verdict.prediction.ground] = Tally(hits=hits, misses=misses)
    return replace(predictions, tallies=tallies, ended=ended)


def _seen(one: Prediction, history: ModuleHistory) -> Prediction:
    """Return the prediction after a look; a count below the one before is that of a service which began anew."""
    came, uses = one.came or history.at_home, min(one.uses, history.uses)
    return one if (came, uses) == (one.came, one.uses) else replace(one, came=came, uses=uses)


def _name(one: Prediction) -> Named:
    return one.service, one.module
