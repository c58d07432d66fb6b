"""Segments between two bursts of tokens: whose keys and values leave the device, and when.

Everything is for the lane's thread. Segments are known as long as somebody else has them; who comes back does so with
its next tokens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast
from weakref import WeakKeyDictionary

import structlog

from tts_service.errors import GreenroomError
from tts_service.lane_loop import LoopParts
from tts_service.listening import Place
from tts_service.scheduling.chunk_plans import TOKENS_PER_SECOND
from tts_service.scheduling.token_rests import Resting, RestLimits, next_to_leave
from tts_service.speech.resting import Leave, Rest, RestingStage
from tts_service.speech.speech_model import Lane

LOOK_SECONDS: Final = 0.25
"""How often those who rest are looked at: clients' words, and orders to leave, come without a bell."""

SHORT_SECONDS: Final = 2.0
"""How long a lack of pages is believed."""

REFUSED_SECONDS: Final = 2.0
"""After which who found no room on the host asks again."""

ROOM_LINGER_SECONDS: Final = 60.0
"""How long the host's memory is kept for the next, once nobody has left any more."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Known:
    """What is known of a segment."""

    key: int
    place: Place
    since: float
    is_away: bool = False
    not_before: float = 0.0


class TokenRests:
    """Who rests. Without `limits` nobody leaves."""

    def __init__(self, parts: LoopParts, limits: RestLimits | None) -> None:
        self._parts = parts
        self._limits = limits
        self._known: WeakKeyDictionary[RestingStage, _Known] = WeakKeyDictionary()
        self._are_away = False
        """Whether anybody may be; where nobody is, nobody is looked for."""
        self._keys = 0
        self._short_until = 0.0
        self._look_at = math.inf
        self._forget_room: Callable[[], object] | None = None
        self._forget_at = math.inf

    def asked(self, stage: object, place: Place, now: float) -> None:
        """Note that tokens were made for a segment."""
        # By attribute: `isinstance` would ask for the rest itself.
        if self._limits is None or not hasattr(type(stage), "rest"):
            return
        resting = cast("RestingStage", stage)
        known = self._known.get(resting)
        if known is None:
            self._keys += 1
            known = self._known[resting] = _Known(key=self._keys, place=place, since=now)
        known.since, known.place = now, place
        self._look_at = min(self._look_at, now + LOOK_SECONDS)
        if known.is_away:
            known.is_away = False
            place.listening.on_back()

    def is_away(self, stage: object) -> bool:
        """Tell whether a segment's keys and values wait on the host."""
        if not self._are_away or not hasattr(type(stage), "rest"):
            return False
        known = self._known.get(cast("RestingStage", stage))
        return known is not None and known.is_away

    def keeps_out(self, stage: object, now: float) -> bool:
        """Tell whether a segment that can wait has no tokens along with others: it is away, or pages are short."""
        return now < self._short_until or self.is_away(stage)

    def relieves(self, asking: object, now: float) -> bool:
        """Tell, because a segment lacks pages, whether somebody else leaves who rests."""
        self._short_until = now + SHORT_SECONDS
        known = self._known.get(cast("RestingStage", asking)) if hasattr(type(asking), "rest") else None
        if known is not None:
            # What it lacks it would lack again as soon as it is back.
            known.not_before = self._short_until
        return self._next(self._present(), now) is not None

    def turn(self, now: float) -> float | None:
        """Let one segment leave that is to; None if something was done, else when to look again."""
        if self._short_until <= now < self._look_at:
            return self._look_at
        present = self._present()
        chosen = self._next(present, now)
        if chosen is not None:
            self._leave(*chosen, now)
            self._look_at = now
            return None
        if now >= self._forget_at and self._forget_room is not None:
            self._forget_room()
            self._forget_at = math.inf
        self._look_at = now + LOOK_SECONDS if present else self._forget_at
        return self._look_at

    def _present(self) -> list[tuple[_Known, Rest]]:
        """Return those with pages, and forget those that have ended."""
        present = []
        for stage, known in list(self._known.items()):
            rest = None if stage.ended else stage.rest
            if rest is None:
                del self._known[stage]
            elif rest.has_pages:
                present.append((known, rest))
        self._are_away = any(known.is_away for known in self._known.values())
        return present

    def _next(self, present: list[tuple[_Known, Rest]], now: float) -> tuple[_Known, Rest] | None:
        if not present or self._limits is None:
            return None
        shown = [self._shown(known, rest, now) for known, rest in present if known.not_before <= now]
        key = next_to_leave(shown, self._limits, now, is_short=self._is_short(present[0][1], now))
        return next((each for each in present if each[0].key == key), None)

    def _shown(self, known: _Known, rest: Rest, now: float) -> Resting:
        listening = known.place.listening
        due_at = known.place.due_at(self._parts.promise, now) + rest.ahead / TOKENS_PER_SECOND
        return Resting(
            key=known.key,
            since=known.since,
            still_seconds=listening.still_seconds(now),
            due_at=due_at,
            is_held=math.isfinite(due_at) and due_at - now > listening.ahead_seconds,
        )

    def _is_short(self, rest: Rest, now: float) -> bool:
        """Tell whether pages are lacking, or somebody wants away what they are in, or room beside it."""
        return now < self._short_until or self._parts.residency.room.is_wanted(self._parts.speech | rest.modules)

    def _leave(self, known: _Known, rest: Rest, now: float) -> None:
        outcome = Leave.NO_ROOM
        if not self._parts.residency.away(rest.modules):
            try:
                with self._parts.spans.span("leave", on=Lane.TOKENS.value), self._parts.lend(rest.modules):
                    outcome = rest.leave()
            except GreenroomError:
                # What is wrong with the device, its next step says.
                outcome = Leave.NO_ROOM
            except Exception as error:  # noqa: BLE001  # Others have bursts meanwhile, and its next step says the same.
                _log.error("leave_failed", exc_info=error)
                outcome = Leave.NO_ROOM
        match outcome:
            case Leave.LEFT:
                known.is_away = self._are_away = True
                known.place.listening.on_away()
                self._forget_room, self._forget_at = rest.forget_room, now + ROOM_LINGER_SECONDS
            case Leave.NO_ROOM:
                known.not_before = now + REFUSED_SECONDS
            case Leave.LATER:
                pass

    def __repr__(self) -> str:
        return f"<TokenRests {len(self._known)} known>"
