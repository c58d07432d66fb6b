"""Who was let in, counted by client and by priority, so that asking about them costs the same however many they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tts_service.scheduling.work import Priority

Whom = TypeVar("Whom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A session that was let in. `client` is whom it is counted for."""

    client: str
    priority: Priority
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Guests:
    """Sessions by number. The counts hold nobody who has none."""

    by_key: Mapping[int, Guest] = field(default_factory=dict)
    of_client: Mapping[str, int] = field(default_factory=dict)
    of_priority: Mapping[Priority, int] = field(default_factory=dict)


def entered(guests: Guests, key: int, guest: Guest) -> Guests:
    """Return the guests with one more."""
    assert key not in guests.by_key
    return Guests(
        by_key={**guests.by_key, key: guest},
        of_client=_counted(guests.of_client, guest.client, 1),
        of_priority=_counted(guests.of_priority, guest.priority, 1),
    )


def gone(guests: Guests, key: int) -> Guests:
    """Return the guests without one."""
    guest = guests.by_key[key]
    return Guests(
        by_key={other: kept for other, kept in guests.by_key.items() if other != key},
        of_client=_counted(guests.of_client, guest.client, -1),
        of_priority=_counted(guests.of_priority, guest.priority, -1),
    )


def _counted(counts: Mapping[Whom, int], whom: Whom, change: int) -> dict[Whom, int]:
    changed = {**counts, whom: counts.get(whom, 0) + change}
    return {each: count for each, count in changed.items() if count}
