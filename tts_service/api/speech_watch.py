"""Who hears of what speech does besides the client: the log, and whoever counts."""

from typing import Protocol

import structlog

from tts_service.errors import Reason
from tts_service.speech import protocol
from tts_service.speech.session_config import SessionConfig

_log = structlog.get_logger(__name__)


class SpeechWatch(Protocol):
    """Hears of speech in the event loop; must be quick, and must not fail."""

    def opened(self, config: SessionConfig, *, streaming: bool) -> None:
        """Hear of a session that has begun, or of a whole text (not `streaming`)."""

    def said(self, message: protocol.ServerMessage, config: SessionConfig) -> None:
        """Hear of a message that is about to be written, and the session's configuration at that time."""

    def failed(self, reason: Reason) -> None:
        """Hear of a call that ends with an error."""

    def looked(self, verdict: str) -> None:
        """Hear what a detection of the watermark has come to, by the verdict's name on the wire."""

    def voice_made(self) -> None:
        """Hear of a voice that was made."""


class Watches:
    """Tells several of what it hears."""

    def __init__(self, *watches: SpeechWatch) -> None:
        self._watches = watches

    def opened(self, config: SessionConfig, *, streaming: bool) -> None:
        """Tell all."""
        for watch in self._watches:
            watch.opened(config, streaming=streaming)

    def said(self, message: protocol.ServerMessage, config: SessionConfig) -> None:
        """Tell all."""
        for watch in self._watches:
            watch.said(message, config)

    def failed(self, reason: Reason) -> None:
        """Tell all."""
        for watch in self._watches:
            watch.failed(reason)

    def looked(self, verdict: str) -> None:
        """Tell all."""
        for watch in self._watches:
            watch.looked(verdict)

    def voice_made(self) -> None:
        """Tell all."""
        for watch in self._watches:
            watch.voice_made()

    def __repr__(self) -> str:
        return f"<Watches {self._watches!r}>"


class Unwatched:
    """Hears nothing."""

    def opened(self, config: SessionConfig, *, streaming: bool) -> None:
        """Let it pass."""

    def said(self, message: protocol.ServerMessage, config: SessionConfig) -> None:
        """Let it pass."""

    def failed(self, reason: Reason) -> None:
        """Let it pass."""

    def looked(self, verdict: str) -> None:
        """Let it pass."""

    def voice_made(self) -> None:
        """Let it pass."""

    def __repr__(self) -> str:
        return "<Unwatched>"


def log_message(message: protocol.ServerMessage) -> None:
    """Log how an utterance ended."""
    match message:
        case protocol.UtteranceDone():
            _log.info(
                "utterance_done",
                utterance_id=message.utterance_id,
                samples=message.samples,
                finish_reason=message.finish_reason.value,
                first_audio_ms=round(message.time_to_first_audio_seconds * 1e3, 1),
                real_time_factor=round(message.real_time_factor, 4),
                underruns=message.underruns,
            )
        case protocol.UtteranceCancelled():
            _log.info("utterance_cancelled", utterance_id=message.utterance_id, samples_sent=message.samples_sent)
        case protocol.UtteranceError(error=error):
            _log.warning(
                "utterance_error",
                utterance_id=message.utterance_id,
                reason=error.reason.value,
                message=error.message,
            )
        case _:
            pass
