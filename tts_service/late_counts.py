"""What has become of steps that are taken late. By itself, because a front end tells of it and needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LateCounts:
    """How many steps wait, were taken, and are not taken because one failed, itself among them."""

    waiting: int = 0
    taken: int = 0
    failed: int = 0
