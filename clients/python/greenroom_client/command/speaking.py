"""One run of `tts-say`: text in on one side, audio out on the other, figures in the end."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, assert_never

from greenroom_client.command.device import DeviceOutput
from greenroom_client.command.figures import Figures
from greenroom_client.command.outputs import FileOutput, Header, Output, StreamOutput
from greenroom_client.command.plan import Destination, Plan
from greenroom_client.command.problems import TextError
from greenroom_client.command.progress import SpeechProgress
from greenroom_client.command.text import NOTHING_TO_SAY, Cutter
from greenroom_client.command.wav import wav_header
from greenroom_client.config import Pacing, SessionConfig
from greenroom_client.errors import GreenroomError
from greenroom_client.events import AudioChunk, Cancelled
from greenroom_client.sync import Client, Session
from greenroom_client.sync_speech import Writing
from greenroom_client.sync_utterance import Utterance

CANCEL_SECONDS = 2.0
"""How long Ctrl-C waits for the service's word on what was said."""
REPORT_SECONDS = 0.5
"""How often the service hears how far the listener is."""


class Interrupted(Exception):  # noqa: N818 - It is the user's wish.
    """Ctrl-C came while something was spoken."""


class Speaking:
    """Speaks a text to an output."""

    def __init__(
        self,
        client: Client,
        plan: Plan,
        *,
        sound_library: Any,
        figures: Figures,
        progress: SpeechProgress,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._plan = plan
        self._sound_library = sound_library
        self._figures = figures
        self._progress = progress
        self._clock = clock
        self._reported_at = clock()

    def speak(self, config: SessionConfig, texts: Iterable[str]) -> None:
        """Speak all of it. Raises Interrupted on Ctrl-C, and whatever else goes wrong."""
        if self._plan.needs_whole_text:
            self._speak_whole(config, "".join(texts))
        else:
            self._speak_as_it_comes(config, texts)

    # --- text that is still being written -----------------------------------------------------------------------

    def _speak_as_it_comes(self, config: SessionConfig, texts: Iterable[str]) -> None:
        listened_to = self._plan.destination is Destination.SOUND_DEVICE
        pacing = Pacing.REALTIME if listened_to else Pacing.NONE
        with self._client.session(config, on_event=self._progress.hear, pacing=pacing) as session:
            self._figures.config = session.config
            cutter = Cutter(self._noted(texts), session.limits.utterance_text_bytes)
            if not cutter.has_more():
                raise TextError(NOTHING_TO_SAY)
            with self._output(session.config.sample_rate_hertz) as output:
                while cutter.has_more():
                    self._speak_utterance(session, cutter.utterance(), output)

    def _noted(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            self._figures.heard_text(self._clock())
            yield text

    def _speak_utterance(self, session: Session, texts: Iterable[str], output: Output) -> None:
        utterance = session.utterance()
        writing = Writing(utterance, texts)
        writing.start()
        samples_before = self._figures.samples
        try:
            for chunk in utterance:
                self._hear(chunk, output)
                self._report_playback(utterance, output, samples_before)
            writing.raise_failure()
            result = utterance.done()
        except KeyboardInterrupt:
            self._figures.cancelled = _cancel(utterance, _since(output.heard_samples, samples_before))
            raise Interrupted from None
        finally:
            writing.stop()
        self._figures.heard_end(result, self._clock())
        self._progress.next_utterance(max((segment.text_end for segment in result.segments), default=0))

    def _report_playback(self, utterance: Utterance, output: Output, samples_before: int) -> None:
        heard_samples = _since(output.heard_samples, samples_before)
        if heard_samples is not None and self._clock() - self._reported_at >= REPORT_SECONDS:
            self._reported_at = self._clock()
            utterance.report_playback(heard_samples)

    # --- whole texts --------------------------------------------------------------------------------------------

    def _speak_whole(self, config: SessionConfig, text: str) -> None:
        if not text:
            raise TextError(NOTHING_TO_SAY)
        self._figures.heard_text(self._clock())
        try:
            speech = self._client.synthesize(text, config)
        except ValueError as error:
            raise TextError(str(error), hint="Write .wav or .ogg: they take texts of any length.") from error
        with speech, self._output(None) as output:
            try:
                for chunk in speech:
                    self._hear(chunk, output)
            except KeyboardInterrupt:
                spoken_bytes = max((segment.text_end for segment in speech.segments), default=0)
                self._figures.cancelled = _split(text, spoken_bytes)
                raise Interrupted from None
            self._figures.heard_end(speech.result, self._clock())

    # --- both ---------------------------------------------------------------------------------------------------

    def _hear(self, chunk: AudioChunk, output: Output) -> None:
        self._figures.heard_audio(chunk, self._clock())
        self._progress.audio(self._figures.audio_seconds)
        output.write(chunk)

    def _output(self, sample_rate_hertz: int | None) -> AbstractContextManager[Output]:
        plan = self._plan

        def header(data_bytes: int | None) -> bytes:
            assert sample_rate_hertz is not None, "the service confirms the rate of every session"
            return wav_header(sample_rate_hertz, data_bytes)

        before: Header | None = header if plan.wav_header else None
        match plan.destination:
            case Destination.FILE:
                assert plan.path is not None
                return FileOutput(plan.path, header=before, force=plan.force)
            case Destination.STREAM:
                return StreamOutput(plan.path, header=before)
            case Destination.SOUND_DEVICE:
                assert sample_rate_hertz is not None, "the service confirms the rate of every session"
                return DeviceOutput(self._sound_library, sample_rate_hertz=sample_rate_hertz)
        assert_never(plan.destination)

    def __repr__(self) -> str:
        return f"<Speaking to {self._plan.name} | {self._figures.samples} samples>"


def _cancel(utterance: Utterance, heard_samples: int | None) -> Cancelled:
    """Cancel and return what was said; the user who wants to stop is not told of a service that does not answer."""
    try:
        return utterance.cancel(heard_samples=heard_samples, timeout_seconds=CANCEL_SECONDS)
    except GreenroomError:
        return Cancelled(utterance_id=utterance.id)


def _since(samples: int | None, samples_before: int) -> int | None:
    """Return samples of this utterance, of a count that goes on over all of them."""
    return None if samples is None else max(0, samples - samples_before)


def _split(text: str, spoken_bytes: int) -> Cancelled:
    raw = text.encode()
    return Cancelled(
        utterance_id="",
        text_spoken=raw[:spoken_bytes].decode(errors="replace"),
        text_unspoken=raw[spoken_bytes:].decode(errors="replace"),
    )
