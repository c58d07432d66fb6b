"""Text that is still being written, as speech: a session's utterance with both its sides in one, for threads."""

import threading
from collections.abc import Generator
from types import TracebackType
from typing import Self

from greenroom_client.errors import UtteranceInterrupted
from greenroom_client.events import AudioChunk, UtteranceResult
from greenroom_client.sync_utterance import Texts, Utterance

JOIN_SECONDS = 0.05
"""A writer whose texts are at hand stops far sooner; one that waits for its next text stops when that comes."""


class Writing:
    """Writes texts to an utterance in a thread of its own; what the texts raise interrupts the utterance."""

    def __init__(self, utterance: Utterance, texts: Texts) -> None:
        self._utterance = utterance
        self._texts = texts
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="greenroom-writing", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def raise_failure(self) -> None:
        """Raise what the writing failed with; that the utterance was interrupted is no failure."""
        if self._failure is not None and not isinstance(self._failure, UtteranceInterrupted):
            raise self._failure

    def stop(self) -> None:
        """Interrupt the utterance if it has not ended, and let the thread end."""
        self._utterance.interrupt()
        self._thread.join(JOIN_SECONDS)

    def _write(self) -> None:
        try:
            self._utterance.write_all(self._texts)
        except BaseException as error:  # noqa: BLE001 - It is raised where the audio is read.
            self._failure = error
            self._utterance.interrupt()

    def __repr__(self) -> str:
        return f"<Writing {'on' if self._thread.is_alive() else 'over'} {self._utterance!r}>"


class Speech:
    """Text on its way in and audio on its way out, as one thing to iterate over.

    The texts are drawn in a thread of its own. Leaving the loop, or `close`, cancels the utterance; the thread ends
    with the text that it waits for. What the texts raise is raised here.
    """

    def __init__(self, utterance: Utterance, texts: Texts) -> None:
        self.utterance = utterance
        self._texts = texts
        self._audio: Generator[AudioChunk, None, None] | None = None

    def __iter__(self) -> Generator[AudioChunk, None, None]:
        if self._audio is None:
            self._audio = _spoken(self.utterance, self._texts)
        return self._audio

    def done(self, *, timeout_seconds: float | None = None) -> UtteranceResult:
        """Wait for its end and return its figures, as `Utterance.done` does."""
        return self.utterance.done(timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Stop, if it has not ended."""
        if self._audio is not None:
            self._audio.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Speech {self.utterance!r}>"


# No method: a generator that knows its object would keep it alive, and a loop that is left would not be cleaned up
# before the next collection of garbage.
def _spoken(utterance: Utterance, texts: Texts) -> Generator[AudioChunk, None, None]:
    writing = Writing(utterance, texts)
    writing.start()
    try:
        yield from utterance
        writing.raise_failure()
        if not utterance.is_cancelled:
            utterance.done()  # It is: this raises a refusal that came too late for the writing.
    finally:
        writing.stop()
