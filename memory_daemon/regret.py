"""How often modules that had to leave were called back soon: what is in use is not asked for below `low` so easily.

Pure. It is to leaving what `room_trust` is to coming home. A module that is called back has moved twice and made a
request wait, and freed nothing that lasted. Modules of one service are used together, so that all of them learn from
it: below `low` a module must have been idle for longer after every regret. Below `critical` none of this counts.
"""

from dataclasses import dataclass

SOON_SECONDS = 60.0
"""Who is called back within this time should have stayed."""
TOGETHER_SECONDS = 5.0
"""Modules that are called back together, or one after the other for one utterance, are one regret."""
REGRETS_MAXIMUM = 4
"""The shortest residence of 5 s asks for 5, 15, 35 and 75 s of idleness, and no more."""
FORGOTTEN_SECONDS = 300.0
"""After so long without one, there is one regret less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """How many regrets there are, and since when."""

    count: int = 0
    at_seconds: float = 0.0


def regretted(regret: Regret, absences_seconds: tuple[float, ...], now_seconds: float) -> Regret:
    """Return the regrets after a look at modules that were called back, each after its absence."""
    since_seconds = now_seconds - regret.at_seconds
    soon = any(seconds < SOON_SECONDS for seconds in absences_seconds)
    if soon and (not regret.count or since_seconds >= TOGETHER_SECONDS):
        return Regret(count=min(regret.count + 1, REGRETS_MAXIMUM), at_seconds=now_seconds)
    if regret.count and since_seconds >= FORGOTTEN_SECONDS:
        return Regret(count=regret.count - 1, at_seconds=now_seconds)
    return regret


def idle_seconds(regret: Regret, residence_seconds: float) -> float:
    """Return how long a module must have been idle before it is asked for below `low`."""
    return residence_seconds * ((1 << regret.count) - 1)
