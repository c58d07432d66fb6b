"""Drives a pure `Session` with a clock and a renderer that makes sound in proportion to text."""

from collections.abc import Iterable

from tests.fakes.manual_clock import ManualClock
from tts_service.speech.protocol import AudioChunk, ClientMessage, ServerMessage
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    DiscardAudio,
    FinishAudio,
    Order,
    RenderSegment,
    RenderStarted,
    SegmentMade,
)
from tts_service.speech.session import Session
from tts_service.speech.session_config import (
    ConfigRequest,
    Defaults,
    ModelFacts,
    Offer,
    Pacing,
    VoiceFacts,
)
from tts_service.speech.session_limits import SessionLimits
from tts_service.types import EncodedPiece

OFFER = Offer(
    models=(
        ModelFacts(
            id="toy",
            description="a toy",
            languages=("en-US", "en", "de"),
            sample_rate_hertz=24_000,
            default_voice="ann",
            changes_speaking_rate=True,
        ),
        ModelFacts(
            id="stiff",
            description="a toy that speaks at one rate",
            languages=("en",),
            sample_rate_hertz=24_000,
            default_voice="bob",
            changes_speaking_rate=False,
        ),
    ),
    voices={
        "ann": VoiceFacts(id="ann", display_name="Ann", languages=("en-US", "en"), models=("toy",), description=""),
        "bob": VoiceFacts(id="bob", display_name="Bob", languages=("en",), models=("toy", "stiff"), description=""),
        "uta": VoiceFacts(id="uta", display_name="Uta", languages=("de",), models=("toy",), description=""),
    },
)

SAMPLES_PER_CHAR = 1_200
"""Fifty milliseconds of sound a character."""

PIECE_SAMPLES = 2_400


class SessionDriver:
    """A session, its clock, and a renderer that keeps the real one's promises: one order at a time, in order.

    `messages` collects everything polled. Rendering happens in `run` unless `rendering` is switched off.
    """

    def __init__(
        self, request: ConfigRequest | None = None, limits: SessionLimits | None = None, *, rendering: bool = True
    ) -> None:
        self.clock = ManualClock()
        self.rendering = rendering
        self.orders: list[Order] = []
        self.messages: list[ServerMessage] = []
        self.session = Session(
            request or ConfigRequest(pacing=Pacing.NONE),
            OFFER,
            Defaults(seed=7),
            limits or SessionLimits(),
            now=self.clock(),
        )
        self._made_samples: dict[str, int] = {}

    def say(self, *messages: ClientMessage) -> "SessionDriver":
        """Receive messages, then let everything that is due happen."""
        for message in messages:
            self.session.receive(message, self.clock())
        return self.run()

    def run(self) -> "SessionDriver":
        """Tick, render and poll until nothing is left to do at this time."""
        while True:
            self.session.tick(self.clock())
            orders = self.session.take_orders(self.clock())
            self.orders.extend(orders)
            if self.rendering:
                for order in orders:
                    self._render(order)
            polled = self._poll_all()
            if not orders and not polled:
                return self

    def wait(self, seconds: float, *, step_seconds: float = 0.05) -> "SessionDriver":
        """Let time pass in steps."""
        for _ in range(round(seconds / step_seconds)):
            self.clock.advance(step_seconds)
            self.run()
        return self

    def _poll_all(self) -> int:
        count = 0
        while (message := self.session.poll(self.clock())) is not None:
            self.messages.append(message)
            count += 1
        return count

    def _render(self, order: Order) -> None:
        now = self.clock()
        match order:
            case RenderSegment():
                self.session.rendered(RenderStarted(utterance_id=order.utterance_id), now)
                self._make(order.utterance_id, len(order.segment.text) * SAMPLES_PER_CHAR, order)
            case FinishAudio():
                samples = 4_800 if order.empty else 0
                piece = EncodedPiece(data=bytes(2 * samples), sample_count=samples)
                self.session.rendered(
                    AudioFinished(utterance_id=order.utterance_id, piece=piece, compute_seconds=0.0), now
                )
            case DiscardAudio():
                self._made_samples.pop(order.utterance_id, None)

    def _make(self, utterance_id: str, samples: int, order: RenderSegment) -> None:
        start = self._made_samples.get(utterance_id, 0)
        self._made_samples[utterance_id] = start + samples
        for offset in range(0, samples, PIECE_SAMPLES):
            count = min(PIECE_SAMPLES, samples - offset)
            piece = EncodedPiece(data=bytes(2 * count), sample_count=count)
            self.session.rendered(AudioMade(utterance_id=utterance_id, piece=piece), self.clock())
        self.session.rendered(
            SegmentMade(
                utterance_id=utterance_id,
                segment=order.segment,
                sample_start=start,
                sample_end=start + samples,
                compute_seconds=0.01,
            ),
            self.clock(),
        )

    def drain_messages(self) -> list[ServerMessage]:
        """Return the messages since the last call."""
        messages, self.messages = self.messages, []
        return messages

    def samples_sent(self) -> int:
        """Return the samples of all audio polled and not drained."""
        return sum(m.piece.sample_count for m in self.messages if isinstance(m, AudioChunk))

    def __repr__(self) -> str:
        return f"<SessionDriver {self.session!r}>"


def kinds(messages: Iterable[ServerMessage], *, audio: bool = True) -> list[str]:
    """Return the messages' kinds, runs of audio as one."""
    names: list[str] = []
    for message in messages:
        name = type(message).__name__
        if isinstance(message, AudioChunk) and (not audio or names[-1:] == [name]):
            continue
        names.append(name)
    return names
