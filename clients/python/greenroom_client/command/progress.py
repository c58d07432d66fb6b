"""The progress bar on standard error, while there is a terminal to show it."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from greenroom_client import events
from greenroom_client.events import (
    Draining,
    Queued,
    Restoring,
    SegmentSpoken,
    SessionEvent,
    UtteranceStarted,
    WaitingFor,
)

WAITING = {
    WaitingFor.TEXT: "waiting for text",
    WaitingFor.PLAYBACK: "speaking",
    WaitingFor.CAPACITY: "waiting for its turn",
    WaitingFor.RESTORE: "waking the voice",
}


class SpeechProgress:
    """Shows how much of the text was spoken, how much audio came, and what is waited for.

    `text_bytes` is the length of the text; None while it is still being written.
    """

    def __init__(self, console: Console, *, text_bytes: int | None, shown: bool) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[audio]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
        )
        self._shown = shown
        self._task = self._bar.add_task("connecting", total=text_bytes, audio="")
        self._spoken_before_bytes = 0

    def hear(self, event: SessionEvent) -> None:
        """Show what a session says; called in its reading thread."""
        match event:
            case SegmentSpoken(text_end=text_end):
                spoken = self._spoken_before_bytes + text_end
                self._bar.update(self._task, description="speaking", completed=spoken)
            case events.Progress(waiting_for=waiting_for):
                self._bar.update(self._task, description=WAITING.get(waiting_for, "waiting"))
            case UtteranceStarted():
                self._bar.update(self._task, description="speaking")
            case Restoring(module=module):
                self._bar.update(self._task, description=f"waking {module}")
            case Queued(position=position, expected_seconds=expected_seconds):
                self._bar.update(self._task, description=f"number {position} in the queue, {expected_seconds:.0f} s")
            case Draining(seconds_left=seconds_left):
                if self._shown:
                    self._bar.console.print(f"The service stops in {seconds_left:.0f} s.", style="yellow")
            case _:
                pass

    def audio(self, audio_seconds: float) -> None:
        """Show how much audio has come."""
        self._bar.update(self._task, audio=f"{audio_seconds:.1f} s")

    def next_utterance(self, text_bytes: int) -> None:
        """Count the next utterance's text from here."""
        self._spoken_before_bytes += text_bytes

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __repr__(self) -> str:
        return f"<SpeechProgress {self._bar.tasks[0].completed} bytes spoken>"
