"""A simulated service: two lanes of one device, sessions that come and go, and a scheduler that is asked for each step.

Pure in effect: the same arrivals, device and contender give the same outcome. Lanes slow each other down while both
work; a decision takes no time.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from benchmarks.scheduling_contenders import Contender
from benchmarks.scheduling_lanes import Job, Lanes
from benchmarks.scheduling_outcome import Outcome
from benchmarks.scheduling_reception import Reception
from benchmarks.scheduling_sessions import WRITTEN, Arrival, Segment, SimulatedSession
from benchmarks.scheduling_truth import CONTEXT_TOKENS, Truth
from benchmarks.scheduling_views import Head, View
from tts_service.scheduling.capacity import Crowd, Standing, standing_of
from tts_service.scheduling.costs import Costs, Figures
from tts_service.scheduling.sound_batches import SoundBatch
from tts_service.scheduling.token_bursts import Burst
from tts_service.scheduling.work import ChunkState, ChunkWork, Priority, Rest, TokenWork, Work

LATE_WEIGHT = 0.01
"""Of one chunk in the share of late ones."""


class World:
    """One run."""

    def __init__(self, figures: Figures, contender: Contender, arrivals: Sequence[Arrival], *, seed: int = 1) -> None:
        self.outcome = Outcome(name=contender.name)
        self._contender = contender
        self._truth = Truth(figures=figures, random=random.Random(seed))  # noqa: S311  # No cryptography here.
        self._now = 0.0
        self._order = itertools.count()
        self._keys = itertools.count(1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sessions: dict[int, SimulatedSession] = {}
        self._heads: dict[int, Head] = {}
        self._lanes = Lanes(Costs(figures=figures))
        self._reception = Reception(
            contender.rules.admission,
            self.outcome,
            standing=self._standing,
            enter=self._enter,
            at=lambda when, happens: self._at(when, lambda: happens(self._now)),
        )
        self._late_share = 0.0
        for arrival in arrivals:
            self._at(arrival.at, partial(self._arrive, arrival))

    def __repr__(self) -> str:
        return f"<World {self._now:.2f} s | {len(self._sessions)} sessions | {self._contender.name}>"

    def run(self, until: float) -> Outcome:
        """Let it happen."""
        while self._now < until:
            self._start_lanes()
            self._pass_to(min(until, self._next_moment()))
            while self._events and self._events[0][0] <= self._now:
                heapq.heappop(self._events)[2]()
        for session in tuple(self._sessions.values()):
            self._note(session)
        return replace(self.outcome, seconds=until, busy_seconds=self._lanes.busy_seconds)

    # --- time -------------------------------------------------------------------------------------------------------

    def _at(self, when: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self._now), next(self._order), happens))

    def _next_moment(self) -> float:
        return min(self._events[0][0] if self._events else math.inf, self._lanes.next_moment(self._now))

    def _pass_to(self, when: float) -> None:
        span, self._now = when - self._now, when
        for job in self._lanes.passed(span):
            job.then()

    # --- sessions ---------------------------------------------------------------------------------------------------

    def _arrive(self, arrival: Arrival) -> None:
        self.outcome.asked += 1
        if self._contender.admits:
            self._reception.ask(next(self._keys), arrival, self._now)
        else:
            self._enter(next(self._keys), arrival)

    def _standing(self) -> Standing:
        """Return how the machine stands with those who are heard live."""
        live = [each for each in self._sessions.values() if each.arrival.priority is Priority.INTERACTIVE]
        speaking = sum(bool(each.making or each.coming) or each.lead_seconds(self._now) > 0 for each in live)
        rules = self._contender.rules
        crowd = Crowd(
            speaking=speaking,
            listening=len(live) - speaking,
            beginning=sum(bool(each.making) and not each.sent_of_turn for each in live),
        )
        return standing_of(crowd, self._lanes.costs, rules.usage, rules.together, late_share=self._late_share)

    def _enter(self, key: int, arrival: Arrival) -> None:
        self._sessions[key] = SimulatedSession(key, arrival, self._keys)
        self.outcome.most_sessions = max(self.outcome.most_sessions, len(self._sessions))
        self._at(self._now + arrival.stay_seconds, lambda: self._leave(key))
        self._begin_turn(key)

    def _leave(self, key: int) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            self._heads.pop(key, None)
            self._note(session)
            if self._contender.admits:
                self._reception.leave(key, self._now)

    def _note(self, session: SimulatedSession) -> None:
        self.outcome.note(session)

    def _begin_turn(self, key: int) -> None:
        session = self._sessions.get(key)
        if session is None:
            return
        session.plan = self._contender.plan(session.arrival.priority, self._lanes.costs)
        self.outcome.plans[session.plan.name] = self.outcome.plans.get(session.plan.name, 0) + 1
        session.begin_turn(self._now)
        turn_from = self._now
        after = session.interrupted_after()
        if after is not None:
            self._at(self._now + after, lambda: self._interrupt(key, turn_from))
        self._order_and_wake(key)

    def _interrupt(self, key: int, turn_from: float) -> None:
        session = self._sessions.get(key)
        if session is not None and session.turn_from == turn_from and (session.making or session.coming):
            session.drop(self._now)
            self._heads.pop(key, None)
            self.outcome.interrupted += 1
            self._at(self._now + session.pause_seconds(), lambda: self._begin_turn(key))

    def _order_and_wake(self, key: int) -> None:
        """Order what may be made, and come back when more may be."""
        session = self._sessions.get(key)
        if session is None:
            return
        session.order(self._now)
        if session.coming and not (session.coming[0].ready_at <= self._now and session.making):
            lead = session.lead_seconds(self._now)
            when = max(session.coming[0].ready_at, self._now + max(0.01, lead - 4.99))
            self._at(when, lambda: self._order_and_wake(key))

    def _turn_over(self, session: SimulatedSession) -> None:
        if session.arrival.manner in WRITTEN and not session.making and not session.coming:
            when = self._now + session.lead_seconds(self._now) + session.pause_seconds()
            self._at(when, lambda: self._begin_turn(session.key))
        elif session.coming:
            self._order_and_wake(session.key)

    # --- lanes ------------------------------------------------------------------------------------------------------

    def _start_lanes(self) -> None:
        if self._lanes.idle(0, self._now):
            work = self._token_work()
            decision = self._contender.tokens([each for each, _ in work.values()], self._lanes.costs, self._now)
            if isinstance(decision, Rest):
                self._lanes.rests[0] = decision.until
            else:
                self._burst(decision, {key: work[key][1] for key in decision.keys})
        if self._lanes.idle(1, self._now):
            chunks = self._chunk_work()
            sound = self._contender.sound(chunks, self._lanes.costs, self._now)
            if isinstance(sound, Rest):
                self._lanes.rests[1] = sound.until
            else:
                self._batch(sound)

    def _view(self) -> View:
        rules = self._contender.rules
        return View(costs=self._lanes.costs, promise=rules.promise, chunks=rules.batch.together, now=self._now)

    def _token_work(self) -> dict[int, tuple[TokenWork, tuple[SimulatedSession, Segment]]]:
        view = self._view()
        return {key: each for session in self._sessions.values() for key, each in view.token_work(session).items()}

    def _burst(self, burst: Burst, members: dict[int, tuple[SimulatedSession, Segment]]) -> None:
        if not burst.tokens:
            work, size, steps = Work.PROMPT, 1, 1
        else:
            work, size, steps = Work.TOKEN, len(burst.keys) * burst.rows, burst.tokens
        seconds = steps * self._truth.seconds(work, size)
        self.outcome.bursts.append(len(burst.keys))

        def done() -> None:
            for session, segment in members.values():
                if segment not in session.making:
                    continue
                made = 1 if not burst.tokens else min(burst.tokens, segment.tokens - segment.made)
                segment.begun = True
                segment.made += made
                segment.fresh += made
                session.cut(segment, self._now)
                if segment.spoken:
                    self._order_and_wake(session.key)

        self._run_job(0, work, size, seconds, done, times=steps)

    def _chunk_work(self) -> list[ChunkWork]:
        view, steps = self._view(), self._lanes.costs.figures.solver_steps
        return [
            view.chunk_work(session, self._heads.setdefault(key, Head(steps_left=steps)))
            for key, session in self._sessions.items()
            if session.making and session.making[0].chunks
        ]

    def _batch(self, batch: SoundBatch) -> None:
        heads = {key: self._heads[key] for key in batch.keys}
        length = self._new_tokens if batch.work is Work.SOUND else self._length
        lengths = [length(key) for key in batch.keys]
        seconds = self._truth.seconds(batch.work, len(batch.keys), lengths)
        if batch.work is Work.SOLVE:
            self.outcome.steps.append(len(batch.keys))

        def done() -> None:
            for key, head in heads.items():
                if self._heads.get(key) is head:
                    self._went_on(key, head, batch.work)

        self._run_job(1, batch.work, len(batch.keys), seconds, done)

    def _new_tokens(self, key: int) -> int:
        return self._sessions[key].making[0].chunks[0]

    def _length(self, key: int) -> int:
        return min(CONTEXT_TOKENS, self._sessions[key].making[0].sounded) + self._new_tokens(key)

    def _went_on(self, key: int, head: Head, work: Work) -> None:
        match work:
            case Work.ENCODE:
                head.state = ChunkState.SOLVING
            case Work.SOLVE:
                head.steps_left -= 1
                head.state = ChunkState.SOLVED if not head.steps_left else ChunkState.SOLVING
            case _:
                self._sounded(key)

    def _sounded(self, key: int) -> None:
        session = self._sessions[key]
        del self._heads[key]
        before = session.heard.underruns
        session.hear(session.making[0], self._now)
        if session.arrival.priority is Priority.INTERACTIVE:
            late = session.heard.underruns - before
            self._late_share += LATE_WEIGHT * (late - self._late_share)
        self._turn_over(session)

    def _run_job(
        self, lane: int, work: Work, size: int, seconds: float, then: Callable[[], None], *, times: int = 1
    ) -> None:
        self._lanes.jobs[lane] = Job(work=work, size=size, left=seconds, then=then, times=times)
