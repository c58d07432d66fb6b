"""What the scheduler is shown of simulated sessions: as the service would show its own."""

import math
from dataclasses import dataclass

from benchmarks.scheduling_sessions import CHUNKS_WAITING, Segment, SimulatedSession
from tts_service.scheduling.costs import Costs, decode_seconds
from tts_service.scheduling.deadlines import Promise, sound_due_at
from tts_service.scheduling.work import ChunkState, ChunkWork, Priority, TokenWork


@dataclass(slots=True, kw_only=True)
class Head:
    """The chunk of a session that becomes sound now."""

    state: ChunkState = ChunkState.WAITING
    steps_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What deadlines are made of; `chunks` are decoded together."""

    costs: Costs
    promise: Promise
    chunks: int
    now: float

    def token_work(self, session: SimulatedSession) -> dict[int, tuple[TokenWork, tuple[SimulatedSession, Segment]]]:
        """Return a session's segments that may have tokens."""
        found = {}
        for segment in session.making:
            if segment.spoken or len(segment.chunks) >= CHUNKS_WAITING:
                continue
            left = session.wanted(session.chunks_cut) - segment.fresh
            work = TokenWork(
                key=segment.key,
                rows=self.costs.figures.rows,
                due_at=self._tokens_due(session, segment),
                waiting_since=segment.waiting_since,
                left=left,
                room=left + (session.wanted(session.chunks_cut + 1) if not segment.chunks else 0),
                begun=segment.begun,
                opens=session.opens(segment, self.now) and not segment.chunks,
                priority=session.arrival.priority,
            )
            found[segment.key] = (work, (session, segment))
        return found

    def chunk_work(self, session: SimulatedSession, head: Head) -> ChunkWork:
        """Return a session's chunk that becomes sound next."""
        segment = session.making[0]
        return ChunkWork(
            key=session.key,
            due_at=self._due(session, segment),
            waiting_since=segment.waiting_since,
            steps_left=head.steps_left,
            state=head.state,
            opens=session.opens(segment, self.now),
            priority=session.arrival.priority,
        )

    def _due(self, session: SimulatedSession, segment: Segment) -> float:
        if session.arrival.priority is Priority.BULK:
            return math.inf
        return sound_due_at(session.hearing(segment, self.now), self.promise)

    def _tokens_due(self, session: SimulatedSession, segment: Segment) -> float:
        due = self._due(session, session.making[0])
        if due == math.inf:
            return due
        return due + session.audible_before(segment) - decode_seconds(self.costs, self.chunks)
