"""The loop of the tokens' lane: bursts of tokens for many segments at once, under one lease each.

A segment that lacks something (pages, a place, numbers) is told so and leaves; the burst goes on without it. One whose
prompt finds no place waits for one for a while.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, cast

from tts_service.busy_time import all_working
from tts_service.errors import Reason, ServiceError
from tts_service.lane_loop import LaneLoop, LoopParts
from tts_service.own_step import OwnStep
from tts_service.scheduling.chunk_plans import TOKENS_PER_SECOND, WITHHELD_SECONDS
from tts_service.scheduling.costs import decode_seconds
from tts_service.scheduling.token_bursts import Burst, BurstLimits, next_burst
from tts_service.scheduling.token_rests import RestLimits
from tts_service.scheduling.urgency import Patience, Turns, hold_seconds, is_held
from tts_service.scheduling.work import Rest, TokenWork, Work
from tts_service.seat import Seat
from tts_service.speech.speech_model import JoinedStage, Lane, Modules, Stage, TokenNeed
from tts_service.token_rests import TokenRests

PLACE_LOOK_SECONDS: Final = 0.02
"""Places also become free where nobody rings."""

CHUNKS_BESIDE: Final = 1
"""Chunks that are decoded at once with the one whose tokens have a deadline."""


class TokenLoop(LaneLoop):
    """Who has tokens next, and with whom."""

    lane = Lane.TOKENS

    def __init__(
        self, parts: LoopParts, limits: BurstLimits, rests: RestLimits | None = None, *, place_wait_seconds: float = 5.0
    ) -> None:
        super().__init__(parts)
        self._place_wait_seconds = place_wait_seconds
        self._limits = self._last_limits = limits
        self._turns = Turns()
        self._rests = TokenRests(parts, rests)

    def serves(self, stages: Sequence[Stage]) -> bool:
        """Tell whether there is one stage, which may have its tokens together with others."""
        # By attribute: `isinstance` asks for all that a protocol has, in 20 us.
        return len(stages) == 1 and getattr(stages[0], "together", None) is not None

    def _look(self, seat: Seat) -> Stage | None:
        """Return the stage, if it needs anything: it has a step then."""
        stage = _stage_of(seat)
        seat.need = None if seat.up else stage.need
        return None if seat.need is None else stage

    def _next(self, seats: Sequence[Seat], now: float) -> float | None:
        costs, looks_at = self._parts.costs.costs, now + PLACE_LOOK_SECONDS
        beforehand_seconds = decode_seconds(costs, CHUNKS_BESIDE)
        needs, able, works, shown = dict[int, TokenNeed](), list[Seat](), list[TokenWork](), list[TokenWork]()
        for seat in seats:
            need = seat.need
            assert need is not None
            needs[seat.key] = need
            if not need.begun and not self._may_begin(seat, now):
                continue
            work = self._shown(seat, need, beforehand_seconds, now)
            able.append(seat)
            works.append(work)
            if not self._keeps_out(seat, work, now):
                shown.append(work)
        if not able:
            return looks_at
        if not shown:
            ahead = (work.due_at - seat.place.listening.ahead_seconds for seat, work in zip(able, works, strict=True))
            return max(looks_at, min(ahead))
        decision, self._turns = next_burst(shown, costs, self._limits_for(able), self._turns, now)
        if isinstance(decision, Rest):
            return min(decision.until, looks_at) if len(able) < len(needs) else decision.until
        self._do(decision, {seat.key: seat for seat in _sharing(able, needs, decision)})
        return None

    def _may_begin(self, seat: Seat, now: float) -> bool:
        """Tell whether a segment would find a place, or has waited for one for long enough."""
        return _stage_of(seat).free_places > 0 or now - seat.since > self._place_wait_seconds

    def _limits_for(self, seats: Sequence[Seat]) -> BurstLimits:
        """Return the limits with what these bear: few are not kept from being as far ahead as they may be."""
        most = min(self._limits.segments, *(_stage_of(seat).most_together for seat in seats))
        held = hold_seconds(max(seat.place.listening.ahead_seconds for seat in seats), len(seats))
        last = self._last_limits
        if (last.segments, last.patience.hold_seconds) != (most, held):
            last = self._last_limits = replace(
                self._limits,
                segments=most,
                late_segments=min(self._limits.late_segments, most),
                patience=replace(self._limits.patience, hold_seconds=held),
            )
        return last

    def _shown(self, seat: Seat, need: TokenNeed, beforehand_seconds: float, now: float) -> TokenWork:
        """Return what the scheduler is shown; tokens must be there `beforehand_seconds` before their sound."""
        place = seat.place
        if need.left > seat.wanted > 0:
            seat.since = now
        seat.wanted = need.left
        opens, priority, due_at = place.opens, place.priority, place.due_at(self._parts.promise, now)
        if need.ahead:
            due_at += max(0.0, need.ahead / TOKENS_PER_SECOND - (WITHHELD_SECONDS if opens else 0.0))
        return TokenWork(
            key=seat.key,
            rows=need.rows,
            due_at=due_at - beforehand_seconds,
            waiting_since=seat.since,
            left=need.left,
            room=need.room,
            begun=need.begun,
            opens=opens and not need.ahead,
            priority=priority,
        )

    def _do(self, burst: Burst, seats: dict[int, Seat]) -> None:
        first = _stage_of(seats[burst.keys[0]])
        # Of several models' segments, only those of one can be computed at once.
        chosen = [seats[key] for key in burst.keys if key in seats and _stage_of(seats[key]).together is first.together]
        if not burst.tokens:
            name, parts = "prompt", [(Work.PROMPT, 1, 1.0)]
        else:
            name, parts = f"tokens of {len(chosen)}", [(Work.TOKEN, len(chosen) * burst.rows, float(burst.tokens))]
        taken = list[bool]()
        with self._parts.costs.working(self.lane) as measured:
            self._work(
                chosen, first.modules, name, lambda leased: taken.extend(self._made(chosen, burst.tokens, leased))
            )
        if taken and all(taken):
            self._parts.costs.note(parts, measured)

    def _made(self, seats: Sequence[Seat], count: int, leased: Modules) -> list[bool]:
        """Read a prompt, or make a burst; return for whom it went well."""
        stages = [_stage_of(seat) for seat in seats]
        if not count:
            return [self._taken(seats[0], stages[0].begin, leased)]
        with all_working([seat.place.busy for seat in seats]):
            made = stages[0].burst(stages, leased, count)
        return [
            self._taken(seat, partial(stage.take, each), leased)
            for seat, stage, each in zip(seats, stages, made, strict=True)
        ]

    def _taken(self, seat: Seat, step: Callable[[Modules], None], leased: Modules) -> bool:
        """Take a seat's step. Who lacks pages stays, if somebody who rests leaves for that."""
        stage, found = _stage_of(seat), list[bool]()

        def take(modules: Modules) -> None:
            try:
                step(modules)
            except ServiceError as error:
                if error.reason is not Reason.DEVICE_MEMORY or not self._rests.relieves(stage, self._parts.clock()):
                    raise
                found.append(False)
            else:
                self._rests.asked(stage, seat.place, self._parts.clock())

        return self._take(seat, OwnStep(self.lane, stage.modules, take), leased) and not found

    def _besides(self, now: float) -> float | None:
        return self._rests.turn(now)

    def _waits_until(self, seat: Seat) -> float | None:
        """Who is away and far ahead does not call T3 home before it can be missed."""
        now, need = self._parts.clock(), seat.need
        if need is None or not self._rests.is_away(seat.found):
            return None
        beforehand_seconds = decode_seconds(self._parts.costs.costs, CHUNKS_BESIDE)
        work = self._shown(seat, need, beforehand_seconds, now)
        return work.due_at - seat.place.listening.ahead_seconds if self._keeps_out(seat, work, now) else None

    def _keeps_out(self, seat: Seat, work: TokenWork, now: float) -> bool:
        """Tell whether somebody far ahead goes along with nobody: it would come back for that, or take pages."""
        if not self._rests.keeps_out(seat.found, now):
            return False
        return is_held(work, Patience(hold_seconds=seat.place.listening.ahead_seconds), now)

    def _leave(self, seat: Seat) -> None:
        _stage_of(seat).close()

    def _give_back(self, stage: Stage) -> None:
        if hasattr(type(stage), "together"):
            cast("JoinedStage", stage).close(over=True)


def _sharing(seats: Sequence[Seat], needs: Mapping[int, TokenNeed], burst: Burst) -> list[Seat]:
    """Return those that may be in a burst with the first of it: whoever has bursts alone is by itself."""
    first = burst.keys[0]
    return [seat for seat in seats if seat.key == first or not (needs[first].alone or needs[seat.key].alone)]


def _stage_of(seat: Seat) -> JoinedStage:
    return cast("JoinedStage", seat.stages[0])
