"""The two sizes that every network can be built in."""

from enum import Enum


class NetworkSize(Enum):
    """FULL is upstream's own; TINY has the same structure, names and frame arithmetic, with few channels and blocks."""

    FULL = "full"
    TINY = "tiny"
