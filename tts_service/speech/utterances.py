"""The utterances of one session: which ids were used, which are open, and what is ordered for them. Pure."""

from collections import deque

from tts_service.errors import CallerError, Reason
from tts_service.speech.rendering import DiscardAudio, FinishAudio, Heard, NoteHeard, Order, RenderSegment
from tts_service.speech.session_config import SessionConfig
from tts_service.speech.session_limits import SessionLimits
from tts_service.speech.session_table import Phase
from tts_service.speech.utterance import Utterance


class Utterances:
    """Open utterances in the order of their creation, and the phase of every id that was ever used.

    Invariant: an id that was used stays known, so that it is never used again.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self.open: deque[Utterance] = deque()
        self._limits = limits
        self._past: dict[str, Phase] = {}
        self._orders: list[Order] = []

    def phase(self, utterance_id: str) -> Phase:
        """Return where the utterance of that id is in its life."""
        utterance = self.find(utterance_id)
        return utterance.phase if utterance is not None else self._past.get(utterance_id, Phase.UNKNOWN)

    def find(self, utterance_id: str) -> Utterance | None:
        """Return the open utterance of that id, if any."""
        return next((u for u in self.open if u.id == utterance_id), None)

    def get(self, utterance_id: str) -> Utterance:
        """Return the open utterance of that id."""
        utterance = self.find(utterance_id)
        assert utterance is not None, utterance_id
        return utterance

    def refusal(self) -> CallerError | None:
        """Return why no further utterance can be created, if so."""
        if len(self.open) > self._limits.waiting_utterances:
            return too_many(f"{self._limits.waiting_utterances} utterances wait already", retry_after_seconds=1.0)
        if len(self._past) + len(self.open) >= self._limits.utterances:
            return too_many(
                f"a session holds {self._limits.utterances} utterances; open another session", retry_after_seconds=0.0
            )
        return None

    def create(self, utterance_id: str, config: SessionConfig, now: float) -> None:
        """Open an utterance behind the others."""
        assert self.phase(utterance_id) is Phase.UNKNOWN
        self.open.append(Utterance(utterance_id, config, now=now))

    def reject(self, utterance_id: str) -> None:
        """Remember an id whose utterance was refused, as far as the bound on ids allows."""
        if len(self._past) + len(self.open) < self._limits.utterances:
            self._past[utterance_id] = Phase.FAILED

    def close(self, utterance: Utterance, phase: Phase) -> None:
        """Take an utterance out; unless it was spoken to its end, its audio is discarded."""
        if phase is not Phase.DONE:
            self._orders.append(DiscardAudio(utterance_id=utterance.id))
        utterance.drop(phase)
        self.open.remove(utterance)
        self._past[utterance.id] = phase

    # --- rendering ----------------------------------------------------------------------------------------------

    @property
    def to_render(self) -> Utterance | None:
        """The first utterance whose audio is not all made."""
        return next((u for u in self.open if not u.rendered), None)

    def order(self, utterance: Utterance, now: float, heard: Heard | None = None) -> None:
        """Order the utterance's next segment, or the end of its audio."""
        segment = utterance.take_segment(now)
        if segment is None:
            order: Order = FinishAudio(utterance_id=utterance.id, config=utterance.config, empty=utterance.is_empty)
        else:
            order = RenderSegment(
                utterance_id=utterance.id,
                config=utterance.config,
                segment=segment,
                index=utterance.segments_ordered - 1,
                heard=heard,
            )
        self._orders.append(order)

    def note_heard(self, utterance: Utterance, heard: Heard) -> None:
        """Have the renderer know how far the listener of an utterance is."""
        self._orders.append(NoteHeard(utterance_id=utterance.id, heard=heard))

    def take_orders(self) -> list[Order]:
        """Return the orders given since the last call."""
        orders, self._orders = self._orders, []
        return orders

    def __repr__(self) -> str:
        return f"<Utterances {[u.id for u in self.open]} open | {len(self._past)} past>"


def too_many(message: str, retry_after_seconds: float | None = None) -> CallerError:
    """Return the error for a bound that was reached."""
    return CallerError(Reason.AT_CAPACITY, message, retry_after_seconds=retry_after_seconds)
