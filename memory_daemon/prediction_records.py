"""What the journal says of predictions: that one was made, and how it ended, so that a restart forgets neither."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from memory_daemon.predictions import Ground, Prediction, Predictions
from memory_daemon.types import DeviceId, ModuleName, ServiceName


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionMade:
    """A module was called home before anybody asked for it."""

    kind: Literal["prediction"] = "prediction"
    device: DeviceId
    prediction: Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionEnded:
    """It was used in time, or it was not."""

    kind: Literal["verdict"] = "verdict"
    device: DeviceId
    service: ServiceName
    module: ModuleName
    ground: Ground
    hit: bool


def records_of(
    device: DeviceId, before: Iterable[Prediction], predictions: Predictions
) -> Iterator[PredictionMade | PredictionEnded]:
    """Yield what is new since those that were open before; what has ended comes first."""
    for verdict in predictions.ended:
        one = verdict.prediction
        yield PredictionEnded(device=device, service=one.service, module=one.module, ground=one.ground, hit=verdict.hit)
    known = {_name(one) for one in before}
    for one in predictions.open:
        if _name(one) not in known:
            yield PredictionMade(device=device, prediction=one)


def _name(one: Prediction) -> tuple[ServiceName, ModuleName, float]:
    return one.service, one.module, one.until_unix_seconds
