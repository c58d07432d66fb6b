"""The session protocol as a state machine: messages and render events in, messages and orders out. No I/O, no clock.

The shell around it (`api/speech.py`) does four things, in any order and as often as it likes:
1. `receive` what the client says, `rendered` what the renderer says;
2. `tick` with the time, and carry out what `take_orders` returns;
3. `poll` for the next message and write it; None means there is nothing to write now;
4. sleep until one of the above has something new, at most until `wake_at`.
When `ended` is true and `poll` has run dry, the stream ends: with `end_error` if there is one, else with OK.

Because messages are pulled, a client that does not read holds nothing but what was already rendered for it, and a
cancel overtakes all audio that was not written yet. Which message is welcome when stands in `session_table.py`.
"""

import math

from tts_service.errors import CallerError, GreenroomError, Reason, ServiceError
from tts_service.speech.outbox import Outbox
from tts_service.speech.protocol import (
    CancelUtterance,
    ClientMessage,
    Drain,
    DrainingNotice,
    EndUtterance,
    Flush,
    HalfClose,
    PlaybackPosition,
    Progress,
    Refused,
    RestoringNotice,
    ServerMessage,
    SessionStarted,
    TextChunk,
    UpdateConfig,
    UtteranceCancelled,
    UtteranceDone,
    UtteranceError,
)
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    NextWelcome,
    Order,
    RenderEvent,
    RenderFailed,
    RenderStarted,
    RestoreAwaited,
    SegmentMade,
    SegmentSpoken,
)
from tts_service.speech.session_config import ConfigRequest, Defaults, Offer, Pacing, overlay, resolve
from tts_service.speech.session_limits import SessionLimits
from tts_service.speech.session_table import TABLE, Answer, Phase, UtteranceMessage, said
from tts_service.speech.spoken_so_far import told_what_was_said
from tts_service.speech.utterance import Utterance
from tts_service.speech.utterances import Utterances, too_many


class Session:
    """One client's session. All times come from the caller and never go back."""

    def __init__(
        self, request: ConfigRequest, offer: Offer, defaults: Defaults, limits: SessionLimits, *, now: float
    ) -> None:
        self.config = resolve(request, offer, defaults)
        self.limits = limits
        self.outbox = Outbox(sample_rate_hertz=self.config.audio_format.sample_rate_hertz, now=now)
        self.outbox.say(SessionStarted(config=self.config))
        self.end_error: GreenroomError | None = None
        self.utterances = Utterances(limits)
        self.active_at = now
        self.drain_deadline: float | None = None
        self.half_closed = False
        self._request = request
        self._offer = offer
        self._defaults = defaults

    # --- what the client says -----------------------------------------------------------------------------------

    def receive(self, message: ClientMessage, now: float) -> None:
        """Take one message in."""
        self.active_at = now
        match message:
            case TextChunk() | Flush() | EndUtterance() | CancelUtterance() | PlaybackPosition():
                self._answer(message, now)
            case UpdateConfig():
                self._update(message)
            case Refused(utterance_id=utterance_id, error=error):
                self.outbox.say(UtteranceError(utterance_id=utterance_id, error=error, closed=False))
            case HalfClose():
                self.half_closed = True
                for utterance in self.utterances.open:
                    if utterance.phase is Phase.OPEN:
                        utterance.end()
            case Drain(deadline=deadline):
                self.drain_deadline = deadline
                self.outbox.say(DrainingNotice(seconds_left=max(0.0, deadline - now)))

    def _answer(self, message: UtteranceMessage, now: float) -> None:
        phase = self.utterances.phase(message.utterance_id)
        match TABLE[phase][said(message)]:
            case Answer.CREATE:
                if self._create(message.utterance_id, now):
                    self._accept(message, now)
            case Answer.ACCEPT:
                self._accept(message, now)
            case Answer.REFUSE:
                self._refuse(message.utterance_id, Reason.BAD_CONFIG, "the utterance has ended; use a new id")
            case Answer.ALREADY_DONE:
                self._already_done(message, phase, now)
            case Answer.IGNORE | Answer.DROP:
                pass

    def _accept(self, message: UtteranceMessage, now: float) -> None:
        if isinstance(message, PlaybackPosition):
            is_news = self.outbox.played(message.utterance_id, message.played_samples, now)
            if is_news and (utterance := self.utterances.to_render) is not None:
                self.utterances.note_heard(utterance, self.outbox.heard(self.utterances.open, now, of=utterance))
            return
        utterance = self.utterances.get(message.utterance_id)
        match message:
            case TextChunk(text=text):
                self._write(utterance, text, now)
            case Flush(flush_id=flush_id):
                self._flush(utterance, flush_id)
            case EndUtterance():
                utterance.end()
            case CancelUtterance(heard_samples=heard_samples):
                self._cancel(utterance, heard_samples, now)

    def _create(self, utterance_id: str, now: float) -> bool:
        draining_at = self.drain_deadline
        error = self.utterances.refusal() if draining_at is None else _draining(draining_at - now)
        if error is None:
            self.utterances.create(utterance_id, self.config, now)
            return True
        self.utterances.reject(utterance_id)
        self.outbox.say(UtteranceError(utterance_id=utterance_id, error=error, closed=True))
        return False

    def _write(self, utterance: Utterance, text: str, now: float) -> None:
        limit = self.limits.utterance_text_bytes
        if utterance.text_bytes + len(text.encode()) > limit:
            message = f"an utterance holds at most {limit} bytes of text; this piece was refused"
            self._refuse(utterance.id, Reason.TEXT_TOO_LONG, message)
            return
        utterance.write(text, now)

    def _flush(self, utterance: Utterance, flush_id: str) -> None:
        if sum(u.flushes_waiting for u in self.utterances.open) >= self.limits.waiting_flushes:
            error = too_many(f"{self.limits.waiting_flushes} flushes wait already", retry_after_seconds=1.0)
            self.outbox.say(UtteranceError(utterance_id=utterance.id, error=error, closed=False))
            return
        utterance.flush(flush_id)

    def _cancel(self, utterance: Utterance, heard_samples: int | None, now: float) -> None:
        self.outbox.interrupted(utterance.id, heard_samples, now)
        spoken, unspoken = utterance.split_text(heard_samples)
        self.utterances.close(utterance, Phase.CANCELLED)
        self.outbox.say(
            UtteranceCancelled(
                utterance_id=utterance.id,
                text_spoken=spoken,
                text_unspoken=unspoken,
                samples_sent=utterance.samples_sent,
            )
        )

    def _already_done(self, message: object, phase: Phase, now: float) -> None:
        assert isinstance(message, CancelUtterance)
        if phase is Phase.DONE:
            self.outbox.interrupted(message.utterance_id, message.heard_samples, now)
        self.outbox.say(UtteranceCancelled(utterance_id=message.utterance_id, already_done=True))

    def _update(self, message: UpdateConfig) -> None:
        try:
            request = overlay(self._request, message.change)
            self.config = resolve(request, self._offer, self._defaults)
            self._request = request
        except CallerError as error:
            self.outbox.say(UtteranceError(utterance_id="", error=error, closed=False))

    def _refuse(self, utterance_id: str, reason: Reason, text: str) -> None:
        self.outbox.say(UtteranceError(utterance_id=utterance_id, error=CallerError(reason, text), closed=False))

    # --- what is to be rendered ---------------------------------------------------------------------------------

    def take_orders(self, now: float) -> list[Order]:
        """Return what the renderer should do next, each order once."""
        utterance = self.utterances.to_render
        if utterance is not None and utterance.wants_rendering and self._render_excess(utterance) < 0:
            self.utterances.order(utterance, now, self.outbox.heard(self.utterances.open, now, of=utterance))
        return self.utterances.take_orders()

    def _render_excess(self, utterance: Utterance) -> float:
        """Return by how much what was made exceeds its bound (seconds if paced, else bytes); below 0 is room."""
        if utterance.config.pacing is Pacing.NONE:
            return sum(u.unsent_bytes for u in self.utterances.open) - self.limits.unsent_bytes
        unsent_seconds = self.outbox.seconds(sum(u.unsent_samples for u in self.utterances.open))
        return unsent_seconds - self.limits.render_ahead_seconds

    def rendered(self, event: RenderEvent, now: float) -> bool:
        """Take the renderer's word in; return whether `poll` and `take_orders` may have something new.

        What comes too late for a closed utterance is dropped. Audio behind other audio that pacing holds back is no
        news, which spares a paced session half of its wake-ups.
        """
        utterance = self.utterances.find(event.utterance_id)
        if utterance is None:
            return False
        self.active_at = now
        match event:
            case RenderStarted():
                utterance.render_began(now)
            case RestoreAwaited(module=module, expected_seconds=expected_seconds):
                utterance.awaits_restore = True
                self.outbox.say(RestoringNotice(module=module, expected_seconds=expected_seconds))
            case AudioMade(piece=piece):
                self.outbox.count_underrun(utterance, now)
                is_behind = bool(utterance.outgoing)
                utterance.add_piece(piece)
                return not is_behind
            case SegmentSpoken():
                utterance.segment_spoken(event)
            case NextWelcome():
                utterance.next_is_welcome = True
            case SegmentMade():
                utterance.segment_made(event)
            case AudioFinished():
                utterance.audio_finished(event)
            case RenderFailed(error=error):
                self.outbox.say(
                    UtteranceError(utterance_id=utterance.id, error=told_what_was_said(error, utterance), closed=True)
                )
                self.utterances.close(utterance, Phase.FAILED)
        return True

    # --- time and sending ---------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due: speak text that has waited long enough, report progress, end what must end."""
        for utterance in self.utterances.open:
            if now >= utterance.speaks_at:
                utterance.speak_buffered()
        if now >= self._progress_at() and not self.outbox.urgent:
            current = self.utterances.open[0]
            self.outbox.say(Progress(utterance_id=current.id, waiting_for=current.waiting_for))
        if self.end_error is None and now >= self._idle_at():
            seconds = self.limits.idle_timeout_seconds
            self._abort(ServiceError(Reason.IDLE_TIMEOUT, f"nothing was said for {seconds:g} s"))
        if self.end_error is None and self.drain_deadline is not None and self._is_drained(now):
            self._abort(_draining(self.drain_deadline - now))

    def poll(self, now: float) -> ServerMessage | None:
        """Return the next message to write, or None if there is nothing to write now."""
        current = self.utterances.open[0] if self.utterances.open else None
        message = self.outbox.poll(current, now)
        if isinstance(message, UtteranceDone):
            assert current is not None
            self.utterances.close(current, Phase.DONE)
        return message

    @property
    def ended(self) -> bool:
        """True if nothing more will come: end the stream once `poll` has run dry."""
        return self.end_error is not None or (self.half_closed and not self.utterances.open)

    def wake_at(self, now: float) -> float:
        """Return the latest time at which the session must be looked at again, even if nothing happens."""
        times = [self._progress_at(), self._idle_at(), *(u.speaks_at for u in self.utterances.open)]
        if self.drain_deadline is not None:
            times.append(self.drain_deadline)
        if self.utterances.open and self.utterances.open[0].outgoing:
            times.append(self.outbox.piece_at(self.utterances.open[0], now))
        return min(times)

    def _progress_at(self) -> float:
        return self.outbox.last_sent_at + self.limits.progress_seconds if self.utterances.open else math.inf

    def _idle_at(self) -> float:
        if any(u.outgoing or u.rendering or u.wants_rendering for u in self.utterances.open):
            return math.inf
        return max(self.active_at, self.outbox.spoke_at) + self.limits.idle_timeout_seconds

    def _is_drained(self, now: float) -> bool:
        assert self.drain_deadline is not None
        return now >= self.drain_deadline or not (self.utterances.open or self.half_closed)

    def _abort(self, error: GreenroomError) -> None:
        for utterance in tuple(self.utterances.open):
            self.utterances.close(utterance, Phase.FAILED)
        self.end_error = error

    def __repr__(self) -> str:
        return f"<Session {[u.id for u in self.utterances.open]} | {self.outbox!r}>"


def _draining(seconds_left: float) -> ServiceError:
    return ServiceError(
        Reason.DRAINING, "the service is stopping; speak elsewhere", retry_after_seconds=max(0.0, seconds_left)
    )
