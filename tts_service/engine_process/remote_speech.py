"""The engine as the front end knows it: sessions, calls, and what it tells of itself, over whichever channel is there.

An engine may go and another come. What was under way then fails with ENGINE_RESTARTING, and so does what is asked
before the next one is there; sessions themselves go on.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from tts_service.engine_process.channel import Channel
from tts_service.engine_process.messages import (
    Active,
    Answer,
    CannotStart,
    Loading,
    Moved,
    Ordered,
    Prefetch,
    Pulse,
    Ran,
    Ready,
    Rendered,
    Reported,
    SessionEnded,
    Stepped,
    TraceWritten,
    VoicesThere,
)
from tts_service.engine_process.remote_calls import RemoteCalls
from tts_service.engine_process.remote_renderer import RemoteRenderer
from tts_service.engine_process.voice_mirror import VoiceMirror
from tts_service.engine_seam import Emit, SessionRenderer
from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.late_counts import LateCounts
from tts_service.residency.situation import Move
from tts_service.residency.types import ResidencyReport
from tts_service.scheduling.utilisation import Part
from tts_service.spans import NO_SPANS, SpanLog
from tts_service.speech.rendering import Order
from tts_service.types import ModuleName

EngineWord = (
    Loading
    | CannotStart
    | Ready
    | Rendered
    | Pulse
    | Stepped
    | Ran
    | Moved
    | Reported
    | VoicesThere
    | TraceWritten
    | Answer
)


class EngineEars(Protocol):
    """Who hears what an engine tells of itself, in the event loop."""

    def loading(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """Hear how far the start is."""
        ...

    def stepped(self, modules: frozenset[ModuleName], seconds: float) -> None:
        """Hear of a step."""
        ...

    def ran(self, part: Part, seconds: float, expected_seconds: float) -> None:
        """Hear of a part's runs: what they took, and what they take by the figures."""
        ...

    def moved(self, move: Move, moved_bytes: int, seconds: float) -> None:
        """Hear of a move."""
        ...

    def reported(self, report: ResidencyReport, broken: tuple[ModuleName, ...], late: LateCounts) -> None:
        """Hear where the modules are, which are broken, and what is captured late."""
        ...

    def traced(self) -> None:
        """Hear that the engine has written where time went."""
        ...


class RemoteSpeech:
    """What sessions speak with while the engine is another process. `retry_seconds` tells how long one takes to come.

    `calls` makes voices and looks for watermarks, `voices` are all that there are; `coders` code what takes long.
    """

    def __init__(
        self,
        ears: EngineEars,
        *,
        retry_seconds: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        spans: SpanLog = NO_SPANS,
        coders: Executor | None = None,
    ) -> None:
        self.calls = RemoteCalls(loop)
        self.voices = VoiceMirror()
        self._ears = ears
        self._spans = spans
        self._retry_seconds = retry_seconds
        self._coders = coders
        self._channel: Channel | None = None
        self._renderers: dict[int, RemoteRenderer] = {}
        self._last_session = 0

    # --- as sessions know it ------------------------------------------------------------------------------------

    def prefetch(self, model: str) -> None:
        """Say that speech with a model will be wanted soon."""
        self._say(Prefetch(model=model))

    def renderer(self, emit: Emit) -> SessionRenderer:
        """Return what carries out a new session's orders."""
        self._last_session = number = self._last_session + 1

        def send(order: Order) -> GreenroomError | None:
            self._spans.moment(type(order).__name__, on="sent")
            return None if self._say(Ordered(session=number, order=order)) else self.restarting()

        def end() -> None:
            self._renderers.pop(number, None)
            self._say(SessionEnded(session=number))

        made = self._renderers[number] = RemoteRenderer(emit, send=send, on_end=end, coders=self._coders)
        return made

    def active(self, *, sessions: int, queued: int) -> None:
        """Tell how busy the service is."""
        self._say(Active(sessions=sessions, queued=queued))

    def restarting(self) -> ServiceError:
        """Return what callers hear while there is no engine."""
        message = "the engine has ended and is started again; what was not said yet must be asked for again"
        return ServiceError(Reason.ENGINE_RESTARTING, message, retry_after_seconds=self._retry_seconds())

    # --- as its supervisor knows it -----------------------------------------------------------------------------

    def attach(self, channel: Channel) -> None:
        """Speak over this channel from now on."""
        self._channel = channel
        self.calls.attach(channel)

    def detach(self) -> None:
        """Fail what is under way: the engine has gone."""
        self._channel = None
        error = self.restarting()
        self.calls.detach(error)
        for renderer in tuple(self._renderers.values()):
            renderer.lost(error)

    def take(self, messages: Sequence[EngineWord]) -> None:
        """Take in what the engine has said in one turn."""
        for message in messages:
            self._take(message)

    def _take(self, message: EngineWord) -> None:
        match message:
            case Rendered(session=session, event=event):
                self._spans.moment(type(event).__name__, on="heard")
                if (renderer := self._renderers.get(session)) is not None:
                    renderer.take(event)
            case Stepped(modules=modules, seconds=seconds):
                self._ears.stepped(frozenset(modules), seconds)
            case Ran(part=part, seconds=seconds, expected_seconds=expected_seconds):
                self._ears.ran(part, seconds, expected_seconds)
            case Moved(move=move, moved_bytes=moved_bytes, seconds=seconds):
                self._ears.moved(move, moved_bytes, seconds)
            case Reported(report=report, broken=broken, late=late):
                self._ears.reported(report, broken, late)
            case Loading(stage=stage, done_bytes=done_bytes, total_bytes=total_bytes):
                self._ears.loading(stage, done_bytes, total_bytes)
            case VoicesThere(voices=voices) | Ready(voices=voices):
                self.voices.show(voices)
            case TraceWritten():
                self._ears.traced()
            case Pulse() | CannotStart():
                pass
            case _ as answer:
                self.calls.take(answer)

    def _say(self, message: Any) -> bool:
        if self._channel is None:
            return False
        self._channel.say(message)
        return True

    def __repr__(self) -> str:
        there = "there" if self._channel is not None else "away"
        return f"<RemoteSpeech engine {there} | {len(self._renderers)} sessions>"
