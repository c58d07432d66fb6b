"""The loop of the sound's lane: whose chunk is decoded next, and whose becomes sound, by when each will be missed.

Chunks whose stages may join are decoded together while there are several, step by step, so that who comes joins before
the next but one; so are their waveforms and marks. Who is by itself, or may not join, is decoded at once by the stage
for one: nothing is faster.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from tts_service.busy_time import all_working
from tts_service.company_room import CompanyRoom
from tts_service.lane_loop import LaneLoop, LoopParts
from tts_service.late_steps import QUIET_SECONDS
from tts_service.measured_costs import Measured
from tts_service.own_step import OwnStep
from tts_service.queued_work import QueuedWork
from tts_service.residency.out_of_memory import is_out_of_memory
from tts_service.scheduling.pauses import bears
from tts_service.scheduling.sound_batches import BatchLimits, next_sound
from tts_service.scheduling.urgency import Turns, hold_seconds
from tts_service.scheduling.work import ChunkState, ChunkWork, Rest, Work
from tts_service.seat import Seat
from tts_service.sound_stages import company_of, decoding, joins, name_of, solver_steps, steps_left, take_part
from tts_service.speech.company import Company, CompanyDecoding, CompanyStage
from tts_service.speech.speech_model import Lane, Modules, Stage
from tts_service.types import ModuleName, Priority


class SoundLoop(LaneLoop):
    """Who becomes sound next."""

    lane = Lane.SOUND

    def __init__(self, parts: LoopParts, limits: BatchLimits) -> None:
        super().__init__(parts)
        self._limits = limits
        self._turns = Turns()
        self._room = CompanyRoom(parts.residency, parts.speech, self.nudge, parts.clock)
        self._queued = QueuedWork(parts.costs.note, parts.clock)
        self._decoded: tuple[int, Measured] | None = None
        """Whose chunk was decoded last, if nothing was done since, and how long that took."""

    def serves(self, stages: Sequence[Stage]) -> bool:
        """Any stages may be here."""
        return bool(stages)

    def _next(self, seats: Sequence[Seat], now: float) -> float | None:
        costs = self._parts.costs.costs
        held = hold_seconds(max(seat.place.listening.ahead_seconds for seat in seats), len(seats))
        limits = replace(self._limits, patience=replace(self._limits.patience, hold_seconds=held))
        shown = [self._shown(seat, now) for seat in seats]
        late = self._parts.late
        if late.next is not None and now >= late.look_at and bears(shown, costs, late.expected_seconds, now):
            late.looked(now)
            if self._prepare_late():
                return None
        decision, self._turns = next_sound(shown, costs, limits, self._turns, now)
        if isinstance(decision, Rest):
            return decision.until if late.next is None else min(decision.until, max(now, late.look_at))
        by_key = {seat.key: seat for seat in seats}
        chosen = [by_key[key] for key in decision.keys]
        match decision.work:
            case Work.SOUND:
                self._sound(chosen)
            case Work.SOLVE:
                self._solve(chosen)
            case _:
                self._begin(chosen, seats)
        return None

    def _idle(self) -> float | None:
        """Prepare what several will need, unless somebody's first sound is about to come."""
        self._queued.forget()
        if self._parts.late.next is None:
            return math.inf
        noisy_seconds = QUIET_SECONDS - self._parts.costs.rested_seconds(Lane.TOKENS)
        if noisy_seconds > 0.0:
            return self._parts.clock() + noisy_seconds
        return None if self._prepare_late() else math.inf

    def _prepare_late(self) -> bool:
        """Take the next of the late steps, if its modules are here; return whether it was taken, or has failed.

        Weights that are away are not called for it: those who speak will do that.
        """
        parts, step = self._parts, self._parts.late.next
        if step is None or parts.residency.away(step.modules & parts.speech) or not self._room.is_home(step.modules):
            return False
        # What was decoded is done by the time that this is.
        self._decoded = None
        began = parts.clock()
        try:
            with parts.spans.span(step.name, on=self.lane.value), parts.lend(step.modules) as leased:
                step.run(leased)
        except Exception as error:  # noqa: BLE001  # Speech goes on without what it would have prepared, and says so.
            parts.late.failed(error)
        else:
            parts.late.taken(parts.clock() - began)
        return True

    def _shown(self, seat: Seat, now: float) -> ChunkWork:
        stage, place = seat.found, seat.place
        steps = solver_steps(stage)
        left = steps_left(stage) if steps else None
        begun = ChunkState.WAITING if left is None else ChunkState.SOLVING
        return ChunkWork(
            key=seat.key,
            due_at=place.due_at(self._parts.promise, now),
            waiting_since=seat.since,
            # A decode that was not handed over is nobody's any more, and is gone in a moment.
            steps_left=steps if left is None else max(1, left),
            state=begun if steps else ChunkState.SOLVED,
            opens=place.opens,
            priority=place.priority,
        )

    # --- decodes ------------------------------------------------------------------------------------------------

    def _begin(self, chosen: Sequence[Seat], seats: Sequence[Seat]) -> None:
        """Begin decodes in places, if there are several; else decode the first of them."""
        first = chosen[0]
        company, stage = company_of(first.stage), first.stage
        if company is None and sum(joins(seat.stage) for seat in seats) > 1:
            self._parts.late.met(self._parts.clock())
        others = [seat for seat in seats if seat is not first and _is_decoding_with(seat, first, company)]
        if company is None or stage is None or not others or not self._room.is_home(stage.modules | company.modules):
            self._decode(first)
            return
        joining = [(seat, each) for seat in chosen if (each := decoding(seat.stage)) and each.company is company]
        if not joining:
            # Whoever was to lead got up just now.
            return
        modules = stage.modules | company.modules

        def begin(leased: Modules) -> None:
            for seat, each in joining:
                self._take(seat, OwnStep(self.lane, modules, each.begin), leased)

        self._queue(Work.ENCODE, [seat for seat, _ in joining], modules, f"encode of {len(joining)}", begin)

    def _solve(self, chosen: Sequence[Seat]) -> None:
        """Take a step of decodes that have places; those that it ends hand their mel over."""
        pairs = [(seat, stage) for seat in chosen if (stage := decoding(seat.stage)) and stage.steps_left]
        if not pairs:
            return
        first = pairs[0][1]
        assert first.company is not None
        solving = [(seat, stage) for seat, stage in pairs if stage.company is first.company]
        modules = first.modules | first.company.modules

        def solve(leased: Modules) -> None:
            with all_working([seat.place.busy for seat, _ in solving]):
                self._solve_together([stage for _, stage in solving], leased)
            for seat, stage in solving:
                if stage.steps_left == 0:
                    self._take(seat, OwnStep(self.lane, modules, stage.finish), leased)

        self._queue(Work.SOLVE, [seat for seat, _ in solving], modules, f"step of {len(solving)}", solve)
        self._queued.done_before(Work.SOLVE)

    def _solve_together(self, stages: Sequence[CompanyDecoding], leased: Modules) -> None:
        """Take a step of these; without memory for it, have each begin anew, by itself."""
        try:
            stages[0].solve(stages, leased)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._room.lacked(error)
            for stage in stages:
                stage.close()

    def _decode(self, seat: Seat) -> None:
        """Decode a chunk by itself."""
        self._decoded = None
        with self._parts.costs.working(self.lane) as measured:
            is_done = self._step(seat)
        self._decoded = (seat.key, measured) if is_done else None

    def _queue(self, work: Work, seats: Sequence[Seat], modules: frozenset[ModuleName], name: str, run: Any) -> None:
        """Do something for several, which the device may do later, and note that."""
        self._decoded = None
        began = self._queued.now()
        with self._parts.costs.working(self.lane) as measured:
            is_done = self._work(seats, modules, name, run)
        if is_done:
            self._queued.queued([(work, len(seats), 1.0)], began, measured.beside)

    # --- sound --------------------------------------------------------------------------------------------------

    def _sound(self, seats: Sequence[Seat]) -> None:
        """Make what is decoded sound, marked and coded."""
        decoded, self._decoded = self._decoded, None
        began = self._queued.now()
        with self._parts.costs.working(self.lane) as measured:
            while (group := self._group(seats)) and not self._parts.residency.away(group[0][1].modules):
                self._sound_group(group)
                if self._gives_way(seats[0]):
                    break
        for seat in seats:
            seat.since = self._parts.clock()
        if group:
            # What is left follows: it is known only then how long all of it took.
            return
        if decoded is not None and [decoded[0]] == [seat.key for seat in seats]:
            self._learn(seats[0], decoded[1], measured)
        elif chunks := sum(len(seat.stages) > 1 for seat in seats):
            # Who has one stage brings out the end of its audio, and no waveform.
            self._queued.queued([(Work.SOUND, chunks, 1.0)], began, measured.beside)
        # What is marked has reached the host, and all before it is done.
        self._queued.done()

    def _gives_way(self, seat: Seat) -> bool:
        """Tell whether it is bulk, and somebody listens who has a step: a whole segment's sound is many."""
        if seat.place.priority is not Priority.BULK:
            return False
        with self._lock:
            others = tuple(self._seats.values())
        return any(each.place.priority is not Priority.BULK and each.stage is not None for each in others)

    def _group(self, seats: Sequence[Seat]) -> list[tuple[Seat, Stage]]:
        """Return those whose next steps are of one kind, the first along the data path, and may be taken together."""
        ready = [(seat, stage) for seat in seats if self._sits(seat) and (stage := seat.stage) is not None]
        sounding = [(seat, stage) for seat, stage in ready if not solver_steps(stage)]
        if not sounding:
            return []
        first = max(sounding, key=lambda each: len(each[0].stages) - list(each[0].stages).index(each[1]))
        company = company_of(first[1])
        if company is None:
            return [first]
        kind = type(first[1])
        return [each for each in sounding if type(each[1]) is kind and company_of(each[1]) is company]

    def _sound_group(self, group: Sequence[tuple[Seat, Stage]]) -> None:
        """Take a step of these: together, if they are several and there is room for that."""
        first = cast("CompanyStage", group[0][1])
        company = None if len(group) == 1 else first.company
        if company is None or not self._room.is_home(first.modules | company.modules):
            for seat, _ in group:
                self._step(seat)
            return
        modules = first.modules | company.modules

        def compute(leased: Modules) -> None:
            with all_working([seat.place.busy for seat, _ in group]):
                made = self._made_together(group, leased)
            for (seat, stage), each in zip(group, made, strict=bool(made)):
                take = partial(take_part, cast("CompanyStage", stage), each)
                self._take(seat, OwnStep(self.lane, modules, take), leased)

        self._work([seat for seat, _ in group], modules, f"{name_of(group[0][1])} of {len(group)}", compute)

    def _made_together(self, group: Sequence[tuple[Seat, Stage]], leased: Modules) -> Sequence[Any]:
        """Return what a step of these brings; nothing if there is no memory for it, but for one after the other."""
        stages = [cast("CompanyStage", stage) for _, stage in group]
        try:
            return stages[0].compute(stages, leased)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._room.lacked(error)
            return ()

    def _step(self, seat: Seat) -> bool:
        """Take a seat's next step; return whether it went well."""
        stage = seat.stage
        if stage is None:
            return False
        taken = list[bool]()

        def take(leased: Modules) -> None:
            taken.append(self._take(seat, stage, leased))

        self._work([seat], stage.modules, name_of(stage), take)
        return taken == [True]

    def _learn(self, seat: Seat, decoding: Measured, sounding: Measured) -> None:
        """Learn from a chunk as a whole: its decode is still under way on the device when its sound is begun."""
        seconds = decoding.seconds + sounding.seconds
        beside = (decoding.beside * decoding.seconds + sounding.beside * sounding.seconds) / max(seconds, 1e-9)
        steps = max(solver_steps(stage) for stage in seat.stages)
        if steps:
            parts = [(Work.ENCODE, 1, 1.0), (Work.SOLVE, 1, float(steps)), (Work.SOUND, 1, 1.0)]
            self._parts.costs.note(parts, Measured(seconds=seconds, beside=beside))

    def _leave(self, seat: Seat) -> None:
        for stage in seat.stages:
            if steps_left(stage) is not None:
                cast("CompanyDecoding", stage).close()


def _is_decoding_with(seat: Seat, other: Seat, company: Company | None) -> bool:
    stage = decoding(seat.stage)
    return stage is not None and stage.company is company and seat.place.priority is other.place.priority
