"""Numbers wishes: what is new gets the next version, what is the same is the same directive again.

Pure. A directive that was refused gets a new number after a rest, because the same number would be refused unheard.
"""

from dataclasses import dataclass, replace

from memory_daemon.orders import REFUSED_REST_SECONDS
from memory_daemon.types import Refusal, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The last directive of a reign, and why; `sent` is false in a dry run.

    `refused_seconds` is when its refusal was first seen.
    """

    epoch: int
    version: int
    wish: Wish
    reason: str = ""
    sent: bool = True
    refused_seconds: float | None = None


def issue(last: Issued | None, wish: Wish, *, epoch: int, refusal: Refusal | None, now_seconds: float) -> Issued:
    """Return the directive for a wish: the last one if it says the same, else the next version."""
    if last is None or last.epoch != epoch:
        return Issued(epoch=epoch, version=1, wish=wish)
    if wish != last.wish:
        return Issued(epoch=epoch, version=last.version + 1, wish=wish)
    if refusal is None or refusal.version != last.version:
        return last
    if last.refused_seconds is None:
        return replace(last, refused_seconds=now_seconds)
    if now_seconds - last.refused_seconds >= REFUSED_REST_SECONDS:
        return Issued(epoch=epoch, version=last.version + 1, wish=wish)
    return last
