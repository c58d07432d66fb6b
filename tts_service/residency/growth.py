"""Room for modules that grow while they are at home: pages of keys and values beyond those that come with their space.

Where the budget, or the device, has no room for them, colder modules leave. Only what nobody has an interest in does: a
claimed module may be the next stage of the same utterance, and each would then wait for the other's memory. Where
stages take turns, because they do not fit together, what is claimed for another turn than the present is dispensable.

A growth is asked for by a step, under its lease, and refused there: nobody waits for an eviction with a lease in hand.
Room is then made and kept, and the step is made again. Pure, as `placement` is.
"""

from dataclasses import replace

from tts_service.errors import Reason, ServiceError
from tts_service.residency.making_room import room_limit_bytes
from tts_service.residency.situation import Growth, Situation, at_home_or_coming, bytes_of, growing_bytes, resized
from tts_service.residency.upkeep import idle
from tts_service.types import ModuleName

RETRY_SECONDS = 1.0
"""After which it makes sense to ask for room again: others have ended, or something has left."""


class RoomWantedError(ServiceError):
    """A module at home was to grow, and there is no room; the step that asked may be made again once there is.

    With `is_short`, the budget holds it, but the device has no memory left. Whoever asks for the room may say which
    claimed modules are `dispensable`.
    """

    def __init__(self, module: ModuleName, byte_count: int, message: str, *, is_short: bool = False) -> None:
        super().__init__(
            Reason.DEVICE_MEMORY,
            message,
            metadata={"needed_bytes": str(byte_count)},
            retry_after_seconds=RETRY_SECONDS,
        )
        self.module = module
        self.byte_count = byte_count
        self.is_short = is_short
        self.dispensable: frozenset[ModuleName] = frozenset()


def begun(situation: Situation, wanted: RoomWantedError, *, ticket: int) -> Situation | None:
    """Keep room for a growth from now on, or return None if not even all idle modules would make it."""
    ceiling = bytes_of(situation, at_home_or_coming(situation)) if wanted.is_short else None
    growth = Growth(
        ticket=ticket,
        module=wanted.module,
        byte_count=wanted.byte_count,
        ceiling_bytes=ceiling,
        dispensable=wanted.dispensable,
    )
    grown = replace(situation, growths=(*situation.growths, growth))
    return None if is_hopeless(grown) else grown


def is_hopeless(situation: Situation) -> bool:
    """Tell whether not even all idle modules make the room that growths want, as the budget and leases are now."""
    growing = {growth.module for growth in situation.growths}
    dispensable = frozenset[ModuleName]().union(*(growth.dispensable for growth in situation.growths))
    spare = idle(situation, besides=dispensable)
    spare_bytes = sum(each.home_bytes for each in spare if each.module not in growing)
    return _lacking_bytes(situation) > spare_bytes


def hopeless(situation: Situation) -> tuple[Growth, ...]:
    """Return the growths for which nobody can make room."""
    return situation.growths if situation.growths and is_hopeless(situation) else ()


def hopeless_error(growth: Growth) -> ServiceError:
    """Return what those are told whose room has come to nothing."""
    return RoomWantedError(growth.module, growth.byte_count, f"nobody makes room for {growth.module} to grow any more")


def ended(situation: Situation, tickets: frozenset[int]) -> Situation:
    """Keep no room any more for growths; those that there are not are ignored."""
    return replace(situation, growths=tuple(each for each in situation.growths if each.ticket not in tickets))


def has_room(situation: Situation, occupied_bytes: int) -> bool:
    """Tell whether what is there, and all that is to grow there (`occupied_bytes`), fits now."""
    limit = room_limit_bytes(situation)
    return limit is None or occupied_bytes <= limit


def taken(situation: Situation, module: ModuleName, byte_count: int) -> Situation:
    """Book bytes that a module grows by, out of the room that was kept for as many, if any was."""
    kept = next((each for each in situation.growths if (each.module, each.byte_count) == (module, byte_count)), None)
    if kept is not None:
        situation = ended(situation, frozenset({kept.ticket}))
    return resized(situation, module, byte_count)


def _lacking_bytes(situation: Situation) -> int:
    """Return how much must leave that does not leave already."""
    limit = room_limit_bytes(situation)
    staying_bytes = bytes_of(situation, at_home_or_coming(situation)) + growing_bytes(situation)
    return 0 if limit is None else staying_bytes - limit
