"""What work costs: given figures to begin with, then what is measured while the service runs. Pure.

Rules
* A figure is a curve over sizes, straight between the sizes that were measured. What is learned is by how much the
  curve is wrong, for each kind of work and power of two of sizes. A size that was never met is taken to be as wrong as
  the nearest one that was.
* Both lanes at once slow each other down. Costs are kept for a lane that has the device to itself.
* A single odd measurement (a page fault, a stopped thread) counts like one that is wrong by `CLIPPED` at most; a device
  that is slower for good is believed within some tens of measurements.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from tts_service.scheduling.work import Work

WEIGHT: Final = 0.05
"""Of a new measurement beside all older ones, in logarithms: half is forgotten after 14."""

CLIPPED: Final = 2.0
"""A measurement counts as at most this many times the estimate, or this part of it."""

Curve = tuple[tuple[int, float], ...]
"""Sizes and their seconds, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What work costs on a device: seconds of each kind by size, for a lane that has the device to itself."""

    curves: Mapping[Work, Curve]
    solver_steps: int
    """Steps of the solver that a chunk takes."""
    rows: int
    """Rows of a segment in a pass for tokens, of which sizes of TOKEN are counted."""
    contention: float
    """How many times longer work takes beside the other lane's."""

    def __post_init__(self) -> None:
        assert set(Work) == set(self.curves)
        assert all(sizes == sorted(set(sizes)) for sizes in ([size for size, _ in c] for c in self.curves.values()))
        assert self.contention >= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Figures, and by how much they are wrong: factors by kind and power of two of the size."""

    figures: Figures
    factors: Mapping[tuple[Work, int], float] = field(default_factory=dict)


def expected(costs: Costs, work: Work, size: float = 1, *, beside: float = 1.0) -> float:
    """Return what work of a size costs, in seconds, also of one that is a mean.

    `beside` is the share of it during which the other lane works.
    """
    assert size >= 1
    slowed = 1.0 + beside * (costs.figures.contention - 1.0)
    return on_curve(costs.figures.curves[work], size) * _factor(costs, work, size) * slowed


def observed(costs: Costs, work: Work, size: int, seconds: float, *, beside: float = 1.0) -> Costs:
    """Return the costs after work of a size took so long."""
    assert 0.0 <= beside <= 1.0
    wrong_by = max(seconds, 1e-9) / expected(costs, work, size, beside=beside)
    bounded = min(max(wrong_by, 1.0 / CLIPPED), CLIPPED)
    factor = _factor(costs, work, size) * bounded**WEIGHT
    return replace(costs, factors={**costs.factors, (work, _bucket(size)): factor})


def on_curve(curve: Curve, size: float) -> float:
    """Return a curve's value: straight between its points and beyond the last two, level before the first."""
    if size <= curve[0][0] or len(curve) == 1:
        return curve[0][1]
    (low, low_seconds), (high, high_seconds) = next(
        (pair for pair in pairwise(curve) if size <= pair[1][0]), (curve[-2], curve[-1])
    )
    return low_seconds + (high_seconds - low_seconds) * (size - low) / (high - low)


def _factor(costs: Costs, work: Work, size: float) -> float:
    known = costs.factors.get((work, _bucket(size)))
    if known is not None:
        return known
    met = [(abs(bucket - _bucket(size)), bucket) for kind, bucket in costs.factors if kind is work]
    return costs.factors[work, min(met)[1]] if met else 1.0


def _bucket(size: float) -> int:
    """Return the number of the power of two that holds a size."""
    return math.ceil(math.log2(size)) if size > 1 else 0


def decode_seconds(costs: Costs, chunks: int, *, beside: float = 1.0) -> float:
    """Return how long so many chunks take from tokens to sound, decoded together and sounding one after the other."""
    solve = costs.figures.solver_steps * expected(costs, Work.SOLVE, chunks, beside=beside)
    sound = chunks * expected(costs, Work.SOUND, beside=beside)
    return expected(costs, Work.ENCODE, chunks, beside=beside) + solve + sound


def tokens_seconds(costs: Costs, tokens: int, segments: int, *, beside: float = 1.0) -> float:
    """Return how long so many tokens of each of so many segments take together."""
    return tokens * expected(costs, Work.TOKEN, segments * costs.figures.rows, beside=beside)
