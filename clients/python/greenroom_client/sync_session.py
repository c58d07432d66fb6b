"""A session for threads: utterances, one after the other, and a configuration that can change between them."""

from types import TracebackType
from typing import Self, Unpack

from greenroom_client.config import ConfigFields, SessionConfig
from greenroom_client.errors import GreenroomError
from greenroom_client.events import Limits, SessionStarted
from greenroom_client.requests import cancel_request, update_request
from greenroom_client.sync_line import Line
from greenroom_client.sync_speech import Speech
from greenroom_client.sync_utterance import Texts, Utterance


class Session:
    """An open session, safe to share between threads. Made by `Client.session`; leave its block to end it."""

    def __init__(self, line: Line, started: SessionStarted) -> None:
        self._line = line
        self._started = started

    @property
    def id(self) -> str:
        """The service's name for the session."""
        return self._started.session_id

    @property
    def config(self) -> SessionConfig:
        """What the session began with, every default filled in."""
        return self._started.config

    @property
    def limits(self) -> Limits:
        """Bounds of this session."""
        return self._started.limits

    def utterance(self, utterance_id: str | None = None) -> Utterance:
        """Return a new utterance, which the service hears of with its first text. Without an id it gets a fresh one."""
        with self._line.changed:
            return Utterance(self._line, self._line.conversation.begin(utterance_id))

    def speak(self, texts: Texts, *, utterance_id: str | None = None) -> Speech:
        """Return the speech of text that is still being written, such as a language model's tokens."""
        return Speech(self.utterance(utterance_id), texts)

    def update(self, **changes: Unpack[ConfigFields]) -> None:
        """Change the configuration from the next utterance on; None goes back to the service's default.

        Returns when it is in force. Raises the service's error if it was refused; nothing has changed then.
        """
        with self._line.changed:
            self._line.room()
            record = self._line.conversation.begin_update(self._line.clock())
            self._line.send(update_request(SessionConfig().with_fields(**changes), changes))
            self._line.send(cancel_request(record.id, None))
            self._line.until(lambda: record.outcome is not None)
        if record.refusals:
            raise record.refusals[0].error
        if isinstance(record.outcome, GreenroomError):
            raise record.outcome.with_traceback(None)

    def close(self) -> None:
        """End the session; whatever is still open is interrupted."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session {self.id} {self._line.conversation!r}>"
