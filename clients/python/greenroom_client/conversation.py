"""The client's side of a session, without any I/O: what was said, what came, what may be read next. Pure.

`aio_line.py` and `sync_line.py` are shells around it: they carry messages, wake whoever waits, and decide nothing.

How much is read from the wire (HTTP/2 itself would let minutes of audio pile up unseen):
1. Audio is read ahead up to `read_ahead_bytes`.
2. Beyond that the wire is read only while somebody waits for something that has not come: a consumer that stops
   reading one utterance holds up nobody else.
3. At `max_buffered_bytes` the utterance with the most unread audio is given up: its audio is dropped, it is cancelled,
   and AudioOverrunError is raised where it is read. So memory is bounded whatever the consumers do.
"""

from collections import deque
from dataclasses import dataclass

from greenroom_client.caller_input import check_id
from greenroom_client.errors import (
    AtCapacityError,
    AudioOverrunError,
    GreenroomError,
    MessageRefused,
    ProtocolError,
    UtteranceFailed,
)
from greenroom_client.events import (
    AudioChunk,
    Cancelled,
    Flushed,
    Progress,
    Refusal,
    SegmentSpoken,
    ServerEvent,
    SessionStarted,
    UtteranceDone,
    UtteranceStarted,
)
from greenroom_client.utterance_record import Phase, UtteranceRecord

GENERATED_ID = "u{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Bounds of what is kept for consumers. 16-bit audio at 24 kHz has 48,000 bytes a second."""

    read_ahead_bytes: int = 4 << 20
    max_buffered_bytes: int = 64 << 20
    stall_seconds: float = 30.0
    """The service says something at least every 2 s while an utterance is open; after this long it is taken as dead."""

    def __post_init__(self) -> None:
        if not (0 < self.read_ahead_bytes <= self.max_buffered_bytes and self.stall_seconds > 0):
            raise ValueError(f"limits must be above 0, and read_ahead_bytes within max_buffered_bytes: {self}")


class Conversation:
    """One session as the client knows it.

    Invariants: `records` holds every utterance that is open or has unread audio; `buffered_bytes` is their sum.
    """

    def __init__(self, limits: ReadLimits) -> None:
        self.limits = limits
        self.started: SessionStarted | None = None
        self.over = False
        self.error: GreenroomError | None = None
        self.records: dict[str, UtteranceRecord] = {}
        self.buffered_bytes = 0
        self.reading_since: float | None = None
        self._updates: deque[UtteranceRecord] = deque()
        self._used_ids: set[str] = set()
        self._ids_generated = 0

    # --- what the client says -----------------------------------------------------------------------------------

    def begin(self, utterance_id: str | None) -> UtteranceRecord:
        """Return the record of a new utterance; the service hears of it with its first message."""
        self.check_open()
        if utterance_id is None:
            utterance_id = self._fresh_id()
        check_id(utterance_id)
        if utterance_id in self._used_ids:
            raise ValueError(f"the id {utterance_id!r} was used in this session; ids are never used again")
        self._used_ids.add(utterance_id)
        return UtteranceRecord(utterance_id)

    def _fresh_id(self) -> str:
        while True:
            self._ids_generated += 1
            candidate = GENERATED_ID.format(self._ids_generated)
            if candidate not in self._used_ids:
                return candidate

    def opens(self, record: UtteranceRecord, now: float) -> None:
        """Note that a message creates an utterance, or would have."""
        if record.phase is Phase.NEW:
            record.phase = Phase.OPEN
            record.opened_at = now
            self.records[record.id] = record

    def ends(self, record: UtteranceRecord) -> None:
        """Note that an utterance gets no more text."""
        if record.phase is Phase.OPEN:
            record.phase = Phase.ENDED

    def cancels(self, record: UtteranceRecord) -> bool:
        """Drop an utterance's audio from now on; return whether the service must be told."""
        self._drop_audio(record)
        if record.phase is Phase.NEW:
            record.close(Cancelled(utterance_id=record.id, already_done=True))
        if record.outcome is not None or record.phase is Phase.CANCELLING:
            return False
        record.phase = Phase.CANCELLING
        return True

    def begin_update(self, now: float) -> UtteranceRecord:
        """Return a record that stands for a change of the configuration.

        The wire has no answer to a change that is accepted. So the change is followed by the cancel of an utterance
        that never was, which is always answered: sessions answer in order, so a refusal comes before that answer.
        """
        record = self.begin(None)
        self.opens(record, now)
        self._updates.append(record)
        return record

    def check_flush_fits(self) -> None:
        """Raise AtCapacityError where the service would refuse one more flush without saying which."""
        assert self.started is not None
        limit = self.started.limits.waiting_flushes
        if sum(record.flushes_waiting for record in self.records.values()) >= limit > 0:
            raise AtCapacityError(f"{limit} flushes wait already", code="RESOURCE_EXHAUSTED", reason="AT_CAPACITY")

    def confirmation(self) -> SessionStarted:
        """Return the service's confirmation of the session, or raise what it answered instead."""
        if self.started is None:
            self.check_open()
        assert self.started is not None, "nothing has been answered yet"
        return self.started

    def check_open(self) -> None:
        """Raise what ended the session, if something did."""
        if self.over:
            assert self.error is not None
            raise self.error.with_traceback(None)

    # --- what the service says ----------------------------------------------------------------------------------

    def receive(self, event: ServerEvent) -> list[str]:
        """Take in what came; return the ids of utterances that are to be cancelled for it."""
        match event:
            case SessionStarted():
                self.started = event
            case Refusal(utterance_id="", error=error):
                if self._updates:
                    self._updates[0].refusals.append(MessageRefused("", error))
            case (
                UtteranceStarted()
                | AudioChunk()
                | SegmentSpoken()
                | Flushed()
                | UtteranceDone()
                | Cancelled()
                | Refusal()
            ):
                record = self.records.get(event.utterance_id)
                if record is not None and record.outcome is None and not self.is_stale(event):
                    return self._receive_for(record, event)
            case _:
                pass  # Progress and notices concern no record; `on_event` hears them.
        return []

    def is_stale(self, event: ServerEvent) -> bool:
        """Return whether an event tells of speech that is not wanted any more, and must not be shown to anybody."""
        match event:
            case UtteranceStarted() | AudioChunk() | SegmentSpoken() | Flushed() | Progress():
                record = self.records.get(event.utterance_id)
                return record is None or record.phase is Phase.CANCELLING
            case _:
                return False

    def _receive_for(
        self,
        record: UtteranceRecord,
        event: UtteranceStarted | AudioChunk | SegmentSpoken | Flushed | UtteranceDone | Cancelled | Refusal,
    ) -> list[str]:
        match event:
            case UtteranceStarted(config=config):
                record.config = config
            case AudioChunk():
                return self._receive_audio(record, event)
            case SegmentSpoken():
                record.segments.append(event)
            case Flushed(flush_id=flush_id):
                record.flushes[flush_id] = event
            case UtteranceDone():
                assert self.started is not None
                record.finish(event, self.started.config)
            case Cancelled():
                record.close(event)
                if record in self._updates:
                    self._updates.remove(record)
            case Refusal(error=error, closed=True):
                record.close(UtteranceFailed(record.id, error))
            case Refusal(error=error):
                record.refusals.append(MessageRefused(record.id, error))
        self._forget_if_over(record)
        return []

    def _receive_audio(self, record: UtteranceRecord, chunk: AudioChunk) -> list[str]:
        try:
            record.receive_audio(chunk)
        except ProtocolError as error:
            return self._give_up(record, error)
        self.buffered_bytes += len(chunk.data)
        if self.buffered_bytes <= self.limits.max_buffered_bytes:
            return []
        fullest = max(self.records.values(), key=lambda record: record.buffered_bytes)
        overrun = AudioOverrunError(
            f"utterance {fullest.id!r}: {fullest.buffered_bytes} bytes of its audio were not read while others were "
            "waited for; they were dropped"
        )
        return self._give_up(fullest, overrun)

    def _give_up(self, record: UtteranceRecord, error: GreenroomError) -> list[str]:
        self.buffered_bytes -= record.buffered_bytes
        was_open = record.give_up(error)
        self._forget_if_over(record)
        return [record.id] if was_open else []

    def finish(self, error: GreenroomError) -> None:
        """End the session: everything still open has this outcome, and so has everything begun later."""
        if self.over:
            return
        self.over, self.error = True, error
        for record in tuple(self.records.values()):
            record.close(error)
            self._forget_if_over(record)

    # --- reading ------------------------------------------------------------------------------------------------

    def take(self, record: UtteranceRecord) -> AudioChunk | None:
        """Return an utterance's next audio, if it has any."""
        chunk = record.take()
        if chunk is not None:
            self.buffered_bytes -= len(chunk.data)
            self._forget_if_over(record)
        return chunk

    def may_read(self, *, waiting: int) -> bool:
        """Return whether to read from the wire, given how many wait for what has not come."""
        return waiting > 0 or self.buffered_bytes < self.limits.read_ahead_bytes

    def is_stalled(self, now: float) -> bool:
        """Return whether the service has been silent for so long, with an utterance open, that it must be dead."""
        if self.reading_since is None:
            return False
        opened = [
            record.opened_at for record in self.records.values() if record.is_open and record.opened_at is not None
        ]
        return bool(opened) and now - max(self.reading_since, min(opened)) > self.limits.stall_seconds

    @property
    def is_quiet(self) -> bool:
        """True if the session has begun and no utterance is open, so that it can end in good order."""
        if self.started is None or self.over:
            return False
        return not any(record.is_open for record in self.records.values())

    def _drop_audio(self, record: UtteranceRecord) -> None:
        self.buffered_bytes -= record.buffered_bytes
        record.drop_audio()
        self._forget_if_over(record)

    def _forget_if_over(self, record: UtteranceRecord) -> None:
        if record.outcome is not None and not record.chunks:
            self.records.pop(record.id, None)

    def __repr__(self) -> str:
        state = "over" if self.over else "open" if self.started is not None else "opening"
        return f"<Conversation {state} {list(self.records)} | {self.buffered_bytes} bytes unread>"
