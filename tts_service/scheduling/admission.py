"""Who is let in: as many as stay in real time, a few in a queue, and a time to come back for everybody else. Pure.

Rules
* A session comes in while the fullest lane, with it, stays below `full`. Once there was no room, the door is shut until
  the lane is below `reopened`, so that it does not open and shut with every measurement.
* A beginning asks for more than what follows it: no more than `beginning` sessions begin at once, the next waits for
  some tenths of a second.
* Work that comes too late, though the figures say that there is room, shuts the door too: the figures are wrong then.
* Bulk has what is left of the machine, so it comes in by number, whatever the load; but not while work comes late.
* Interactive sessions wait before bulk ones, otherwise it is first come, first served. Nobody waits who would be heard
  only after its own deadline, or let in only after `queue_seconds`.
* Whoever is refused is told when a place is expected for it, behind all who wait and all who were told a time that has
  not come: they come back one after the other. Where that is beyond what one may be told, the times are spread.
* A refusal costs the same however many are here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tts_service.scheduling.capacity import Standing
from tts_service.scheduling.departures import Departures, between_seconds, departed, wait_seconds
from tts_service.scheduling.guests import Guest, Guests, entered, gone
from tts_service.scheduling.verdicts import Admitted, Applicant, Queued, Refusal, Refused, Verdict
from tts_service.scheduling.work import Priority

GOLDEN_RATIO: Final = (5**0.5 - 1) / 2
"""Its multiples spread over an interval, each next one into the widest gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionLimits:
    """Bounds on who is let in. Shares are of the fullest lane's time."""

    sessions: int = 512
    full: float = 0.88
    reopened: float = 0.85
    late_share: float = 0.05
    """Work that may come late, of all, before nobody else is let in; the door opens again at half of it."""
    late_seconds: float = 2.0
    """How long it takes until work is in time again, for each who waits for that."""
    beginning: int = 6
    """Interactive sessions that may begin at once."""
    queue: int = 16
    queue_seconds: float = 5.0
    client_sessions: int = 512
    """Of one client: often one back end speaks for all its callers, so by default it may have them all."""
    client_queue: int = 8
    bulk_sessions: int = 8
    least_retry_seconds: float = 0.5
    most_retry_seconds: float = 60.0

    def __post_init__(self) -> None:
        assert 0.0 < self.reopened <= self.full < 1.0
        assert 0.0 < self.least_retry_seconds <= self.most_retry_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the queue."""

    applicant: Applicant
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Who is here, who waits, and until when places are promised to those who were sent away."""

    guests: Guests = field(default_factory=Guests)
    queue: tuple[Place, ...] = ()
    shut: bool = False
    departures: Mapping[Priority, Departures] = field(default_factory=lambda: dict.fromkeys(Priority, Departures()))
    promised_until: Mapping[Priority, float] = field(default_factory=lambda: dict.fromkeys(Priority, -math.inf))


def asked(
    door: Door, applicant: Applicant, standing: Standing, limits: AdmissionLimits, now: float
) -> tuple[Door, Verdict]:
    """Return the door after somebody asked, and the answer."""
    assert applicant.key not in door.guests.by_key
    if applicant.deadline - now < standing.first_audio_seconds:
        retry = Refused(key=applicant.key, refusal=Refusal.DEADLINE, retry_after_seconds=limits.least_retry_seconds)
        return door, retry
    if _client_is_full(door, applicant, limits):
        return door, _client_refused(door, applicant, limits)
    door = _moved(door, standing, limits)
    is_first = all(place.applicant.priority is not applicant.priority for place in door.queue)
    if is_first and _may_enter(door, applicant, standing, limits):
        return _admitted(door, applicant, now), Admitted(key=applicant.key)
    return _waits_or_goes(door, applicant, standing, limits, now)


def left(door: Door, key: int, now: float) -> Door:
    """Return the door after a session has ended, or has given up its place in the queue."""
    guest = door.guests.by_key.get(key)
    if guest is None:
        return replace(door, queue=tuple(place for place in door.queue if place.applicant.key != key))
    learned = departed(door.departures[guest.priority], now - guest.since)
    return replace(door, guests=gone(door.guests, key), departures={**door.departures, guest.priority: learned})


def looked_at(
    door: Door, standing: Standing, limits: AdmissionLimits, now: float
) -> tuple[Door, tuple[Admitted | Refused, ...]]:
    """Return the door after those who waited in vain were sent away, and one, if it may, was let in.

    To be asked when somebody has left, at `wakes_at` and now and then. One at a time comes in, because with it the
    machine stands differently: the caller asks again with a new standing until nobody does.
    """
    in_vain = [place for place in door.queue if _gives_up_at(place, standing, limits) <= now]
    door = _moved(replace(door, queue=_without(door.queue, in_vain)), standing, limits)
    sent = tuple(_gave_up(door, place, standing, limits, now) for place in in_vain)
    for place in door.queue:
        if _may_enter(door, place.applicant, standing, limits) and not _client_is_full(door, place.applicant, limits):
            door = replace(door, queue=_without(door.queue, [place]))
            return _admitted(door, place.applicant, now), (*sent, Admitted(key=place.applicant.key))
    return door, sent


def wakes_at(door: Door, standing: Standing, limits: AdmissionLimits) -> float:
    """Return when the first in the queue will have waited in vain; `math.inf` if nobody waits."""
    return min((_gives_up_at(place, standing, limits) for place in door.queue), default=math.inf)


def positions(door: Door, standing: Standing, limits: AdmissionLimits) -> tuple[Queued, ...]:
    """Return what those who wait may be told: where they stand, and for how long about."""
    return tuple(_queued(door, place.applicant, number, standing, limits) for number, place in enumerate(door.queue, 1))


# --- whether there is room ------------------------------------------------------------------------------------------


def _moved(door: Door, standing: Standing, limits: AdmissionLimits) -> Door:
    """Return the door as the machine's standing has it: shut, open, or as it was between the marks."""
    if standing.load_with_one > limits.full or standing.late_share > limits.late_share:
        return replace(door, shut=True) if not door.shut else door
    is_roomy = standing.load <= limits.reopened and standing.late_share <= limits.late_share / 2
    return replace(door, shut=False) if door.shut and is_roomy else door


def _may_enter(door: Door, applicant: Applicant, standing: Standing, limits: AdmissionLimits) -> bool:
    if len(door.guests.by_key) >= limits.sessions:
        return False
    if applicant.priority is Priority.BULK:
        has_place = door.guests.of_priority.get(Priority.BULK, 0) < limits.bulk_sessions
        return has_place and standing.late_share <= limits.late_share
    return not door.shut and standing.beginning < limits.beginning


def _client_is_full(door: Door, applicant: Applicant, limits: AdmissionLimits) -> bool:
    return door.guests.of_client.get(applicant.client, 0) >= limits.client_sessions


def _admitted(door: Door, applicant: Applicant, now: float) -> Door:
    guest = Guest(client=applicant.client, priority=applicant.priority, since=now)
    return replace(door, guests=entered(door.guests, applicant.key, guest))


# --- what those are told who are not let in -------------------------------------------------------------------------


def _waits_or_goes(
    door: Door, applicant: Applicant, standing: Standing, limits: AdmissionLimits, now: float
) -> tuple[Door, Verdict]:
    number = _place(door, applicant)
    queued = _queued(door, applicant, number, standing, limits)
    of_client = sum(place.applicant.client == applicant.client for place in door.queue)
    has_place = len(door.queue) < limits.queue and of_client < limits.client_queue
    is_heard = now + queued.wait_seconds + standing.first_audio_seconds <= applicant.deadline
    if has_place and is_heard and queued.wait_seconds <= limits.queue_seconds:
        place = Place(applicant=applicant, since=now)
        return replace(door, queue=(*door.queue[: number - 1], place, *door.queue[number - 1 :])), queued
    return _sent_away(door, applicant, standing, limits, now)


def _place(door: Door, applicant: Applicant) -> int:
    """Return the position that somebody takes: behind its equals, interactive before bulk."""
    if applicant.priority is Priority.BULK:
        return len(door.queue) + 1
    return 1 + sum(place.applicant.priority is Priority.INTERACTIVE for place in door.queue)


def _queued(door: Door, applicant: Applicant, number: int, standing: Standing, limits: AdmissionLimits) -> Queued:
    seconds = _wait_seconds(door, applicant.priority, number, standing, limits)
    return Queued(key=applicant.key, position=number, wait_seconds=seconds)


def _wait_seconds(door: Door, priority: Priority, number: int, standing: Standing, limits: AdmissionLimits) -> float:
    """Return how long it takes until there is room for the one at this position."""
    is_full = standing.load_with_one > limits.full or len(door.guests.by_key) >= limits.sessions
    if standing.late_share > limits.late_share / 2 and not is_full:
        return number * limits.late_seconds
    if priority is Priority.INTERACTIVE and not door.shut and not is_full:
        return -(-number // limits.beginning) * standing.first_audio_seconds
    if len(door.guests.by_key) >= limits.sessions and standing.load_with_one <= limits.full:
        return number * _between_seconds(door, priority, limits)
    here = door.guests.of_priority.get(priority, 0)
    leaving = number if priority is Priority.BULK else _leaving(number, standing, limits)
    return wait_seconds(door.departures[priority], here=here, leaving=leaving)


def _between_seconds(door: Door, priority: Priority, limits: AdmissionLimits) -> float:
    """Return how long it takes until one leaves who makes room: of its own kind, or any where the number is full."""
    kinds = Priority if len(door.guests.by_key) >= limits.sessions else (priority,)
    here = door.guests.of_priority
    rate = sum(here[kind] / max(1e-6, door.departures[kind].stay_seconds) for kind in kinds if here.get(kind))
    return 1.0 / rate if rate else math.inf


def _leaving(number: int, standing: Standing, limits: AdmissionLimits) -> int:
    """Return how many must leave before so many find the door open: it opens for some at once."""
    one = standing.load_with_one - standing.load
    until_open = max(1, math.ceil((standing.load - limits.reopened) / one))
    let_in_then = max(1, math.floor((limits.full - limits.reopened) / one))
    return until_open + max(0, number - let_in_then)


def _sent_away(
    door: Door, applicant: Applicant, standing: Standing, limits: AdmissionLimits, now: float
) -> tuple[Door, Refused]:
    priority = applicant.priority
    own = now + _wait_seconds(door, priority, len(door.queue) + 1, standing, limits)
    between = _between_seconds(door, priority, limits)
    at = max(own, door.promised_until[priority] + between)
    latest = now + limits.most_retry_seconds
    if at >= latest:
        return door, _refused_full(applicant, _spread_seconds(applicant.key, limits), limits)
    door = replace(door, promised_until={**door.promised_until, priority: at})
    return door, _refused_full(applicant, at - now, limits)


def _spread_seconds(key: int, limits: AdmissionLimits) -> float:
    """Return a time in the upper half of what may be told, another for each who asks."""
    return limits.most_retry_seconds * (0.5 + 0.5 * (key * GOLDEN_RATIO % 1.0))


def _refused_full(applicant: Applicant, seconds: float, limits: AdmissionLimits) -> Refused:
    bounded = min(max(seconds, limits.least_retry_seconds), limits.most_retry_seconds)
    return Refused(key=applicant.key, refusal=Refusal.FULL, retry_after_seconds=bounded)


def _client_refused(door: Door, applicant: Applicant, limits: AdmissionLimits) -> Refused:
    """Return the answer for a client that has all that it may: one of its own has to leave first."""
    own = door.guests.of_client[applicant.client]
    seconds = between_seconds(door.departures[applicant.priority], own)
    bounded = min(max(seconds, limits.least_retry_seconds), limits.most_retry_seconds)
    return Refused(key=applicant.key, refusal=Refusal.CLIENT, retry_after_seconds=bounded)


def _gave_up(door: Door, place: Place, standing: Standing, limits: AdmissionLimits, now: float) -> Refused:
    seconds = _wait_seconds(door, place.applicant.priority, len(door.queue) + 1, standing, limits)
    refused = _refused_full(place.applicant, seconds, limits)
    is_late = place.applicant.deadline - standing.first_audio_seconds <= now
    return replace(refused, refusal=Refusal.DEADLINE) if is_late else refused


def _gives_up_at(place: Place, standing: Standing, limits: AdmissionLimits) -> float:
    """Return when somebody has waited in vain: it could no longer be heard in time, or has waited for too long."""
    return min(place.since + limits.queue_seconds, place.applicant.deadline - standing.first_audio_seconds)


def _without(queue: tuple[Place, ...], places: list[Place]) -> tuple[Place, ...]:
    return tuple(place for place in queue if place not in places)
