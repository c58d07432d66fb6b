"""A search for the largest number that still works: doubled until it fails, then halved between. Pure.

A number is tried once. Where trials are noisy, the answer is a number that worked, below one that did not.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is known: `works` does (0 if nothing was tried that did), `fails` does not (None if nothing did).

    Invariant: works < fails.
    """

    first: int
    most: int
    precision: float = 0.05
    """The answer may be too small by this share of itself."""
    works: int = 0
    fails: int | None = None

    @property
    def next(self) -> int | None:
        """What to try now; None if the answer is known."""
        if self.fails is None:
            wanted = min(self.first if self.works == 0 else 2 * self.works, self.most)
            return wanted if wanted > self.works else None
        if self.fails - self.works <= max(1.0, self.precision * self.works):
            return None
        return (self.works + self.fails) // 2

    def told(self, number: int, *, works: bool) -> "Search":
        """Return the search after a trial."""
        if works:
            return replace(self, works=max(self.works, number))
        return replace(self, fails=number if self.fails is None else min(self.fails, number))
