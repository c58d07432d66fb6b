"""What came of predictions, and how devices are divided between services. Sizes are bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionTally:
    """How often modules came home for one reason before anybody asked; `open` is not decided yet, `service/module`."""

    device: str
    ground: str
    hits: int
    misses: int
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """How one device is divided: a budget for each service, and what their floors promise beyond what is there."""

    device: str
    budget_bytes: dict[str, int]
    overdraft_bytes: int
