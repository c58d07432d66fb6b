"""Pauses between copies to the device that nobody waits for, so that whoever speaks hardly notices them. Pure.

While utterances are open, such restores come one after the other. What somebody waits for never pauses, and neither
does what leaves. What comes from disk takes long enough without a pause.
"""

from dataclasses import replace
from typing import Final

from tts_service.residency.situation import Move, Residence, Situation, comes_home
from tts_service.residency.types import Authority, Tier

PAUSE_SHARE: Final = 3.0
PAUSE_SECONDS: Final = 0.025
"""A pause is so many times what the restore before it took, and at least so long. 474 MiB keep the bus busy for 9 ms,
and an order for a move takes up to a millisecond of Python, whatever the module weighs."""


def pauses(situation: Situation, residence: Residence, authority: Authority) -> bool:
    """Tell whether bringing a module home on somebody's word has to spare those who speak."""
    from_host = situation.home is Tier.DEVICE and residence.tier is Tier.HOST
    return from_host and authority is not Authority.DEMAND and bool(situation.leases.claims)


def is_paused(situation: Situation, *, now_seconds: float) -> bool:
    """Tell whether such a restore is under way, or was so a moment ago."""
    return now_seconds < situation.paused_until_seconds or any(
        each.moved_by is not Authority.DEMAND and comes_home(situation, each) for each in situation.residences
    )


def paused_after(situation: Situation, move: Move, *, took_seconds: float, now_seconds: float) -> Situation:
    """Note the pause that follows a restore."""
    if move.target is not situation.home or move.authority is Authority.DEMAND:
        return situation
    pause_seconds = max(PAUSE_SECONDS, PAUSE_SHARE * took_seconds)
    return replace(situation, paused_until_seconds=now_seconds + pause_seconds)
