"""Counts what speech does, for `/metrics`: what clients waited for, what they were told, and what computing took.

Labels are bounded by what the service knows: its models, its modules, and the reasons of the wire. Nothing that a
client can choose is one.
"""

from collections.abc import Iterable
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Histogram

from tts_service.errors import Reason
from tts_service.speech import protocol
from tts_service.speech.session_config import SessionConfig
from tts_service.types import ModuleName

WAIT_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
"""Seconds that a listener notices: close together around 0.1 to 0.3 s, where an agent's turn is won or lost."""
STEP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)
"""Seconds of one step: milliseconds on a GPU, up to seconds on a CPU."""
RATIO_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0)
"""Seconds of computing a second of audio; above 1 nothing can be heard without a break."""
OUTCOMES = ("complete", "empty", "cancelled", "failed")
LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class SpeechMetrics:
    """The counters of speech; it hears of it as a `SpeechWatch`, and of steps and the event loop besides."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._opened = Counter(
            "greenroom_sessions_opened",
            "Speech calls that were let in: streaming sessions, and whole texts.",
            ("model", "kind"),
            registry=registry,
        )
        self._utterances = Counter(
            "greenroom_utterances",
            "Utterances that ended: complete, empty (nothing to say), cancelled or failed.",
            ("model", "outcome"),
            registry=registry,
        )
        self._errors = Counter(
            "greenroom_errors",
            "Calls and utterances that were refused or failed, by the reason that the client was told.",
            ("reason",),
            registry=registry,
        )
        self._outgoing = _Outgoing(registry)
        self._waits = _Waits(registry)
        self._steps = Histogram(
            "greenroom_step_seconds",
            "Time of one step of speech in its thread, under its lease, by the modules that it used.",
            ("modules",),
            buckets=STEP_BUCKETS,
            registry=registry,
        )
        self._lag = Histogram(
            "greenroom_event_loop_lag_seconds",
            "How late the event loop woke for something that was due.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self._detections = Counter(
            "greenroom_watermark_detections",
            "Detections of the watermark in what clients sent, by verdict.",
            ("verdict",),
            registry=registry,
        )
        self._voices = Counter("greenroom_voices_made", "Voices that were made of uploads.", registry=registry)
        for reason in Reason:
            self._errors.labels(reason.value)  # As `expect` does.

    def expect(self, models: Iterable[str]) -> None:
        """Show the counters of models from the beginning: one that appears with its first event has not risen then."""
        for model in models:
            self._waits.underruns.labels(model)
            for outcome in OUTCOMES:
                self._utterances.labels(model, outcome)

    def opened(self, config: SessionConfig, *, streaming: bool) -> None:
        """Count a session or a whole text."""
        self._opened.labels(config.model, "streaming" if streaming else "whole_text").inc()

    def said(self, message: protocol.ServerMessage, config: SessionConfig) -> None:
        """Count what is told a client."""
        match message:
            case protocol.AudioChunk():
                self._outgoing.chunk(message, config)
            case protocol.UtteranceDone():
                self._utterances.labels(config.model, message.finish_reason.value).inc()
                self._outgoing.done(message, config.model)
                self._waits.done(message, config.model)
            case protocol.UtteranceCancelled():
                if not message.already_done:
                    self._utterances.labels(config.model, "cancelled").inc()
            case protocol.UtteranceError():
                self.failed(message.error.reason)
                if message.closed:
                    self._utterances.labels(config.model, "failed").inc()
            case (
                protocol.SessionStarted()
                | protocol.UtteranceStarted()
                | protocol.SegmentDone()
                | protocol.Flushed()
                | protocol.Progress()
                | protocol.DrainingNotice()
                | protocol.RestoringNotice()
            ):
                pass
            case _:
                assert_never(message)

    def failed(self, reason: Reason) -> None:
        """Count an error."""
        self._errors.labels(reason.value).inc()

    def looked(self, verdict: str) -> None:
        """Count a detection."""
        self._detections.labels(verdict.removeprefix("WATERMARK_VERDICT_").lower()).inc()

    def voice_made(self) -> None:
        """Count a voice."""
        self._voices.inc()

    def stepped(self, modules: frozenset[ModuleName], seconds: float) -> None:
        """Count a step, in a worker's thread."""
        self._steps.labels(" ".join(sorted(modules))).observe(seconds)

    def lagged(self, seconds: float) -> None:
        """Note how late the event loop was."""
        self._lag.observe(max(0.0, seconds))

    def __repr__(self) -> str:
        return f"<SpeechMetrics {self._outgoing!r}>"


class _Waits:
    """What a listener waited for: once an utterance."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._first_audio = Histogram(
            "greenroom_first_audio_seconds",
            "From when speech could begin to the first audio of an utterance.",
            ("model",),
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._queue_wait = Histogram(
            "greenroom_queue_wait_seconds",
            "How long an utterance waited for a place to compute.",
            ("model",),
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._real_time = Histogram(
            "greenroom_real_time_ratio",
            "Seconds of computing a second of an utterance's audio.",
            ("model",),
            buckets=RATIO_BUCKETS,
            registry=registry,
        )
        self.underruns = Counter(
            "greenroom_underruns",
            "Times that a listener had heard all audio before more of the utterance had come.",
            ("model",),
            registry=registry,
        )

    def done(self, message: protocol.UtteranceDone, model: str) -> None:
        """Count an utterance that was spoken to its end."""
        if message.finish_reason is protocol.FinishReason.COMPLETE:
            self._first_audio.labels(model).observe(message.time_to_first_audio_seconds)
            self._queue_wait.labels(model).observe(message.queue_wait_seconds)
            self._real_time.labels(model).observe(message.real_time_factor)
            self.underruns.labels(model).inc(message.underruns)

    def __repr__(self) -> str:
        return "<_Waits>"


class _Outgoing:
    """What was spoken; all of it is watermarked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._audio = Counter(
            "greenroom_audio_seconds", "Watermarked audio that was sent.", ("model",), registry=registry
        )
        self._bytes = Counter("greenroom_audio_bytes", "Coded audio that was sent.", ("model",), registry=registry)
        self._chunks = Counter("greenroom_audio_chunks", "Messages with audio.", ("model",), registry=registry)
        self._tokens = Counter(
            "greenroom_speech_tokens", "Speech tokens of utterances that were done.", ("model",), registry=registry
        )
        self._guarded = Counter(
            "greenroom_guarded_segments", "Segments that a guard ended.", ("model", "guard"), registry=registry
        )
        self._of_model: dict[str, tuple[Counter, Counter, Counter]] = {}

    def chunk(self, message: protocol.AudioChunk, config: SessionConfig) -> None:
        """Count a message with audio."""
        seconds = message.piece.sample_count / config.audio_format.sample_rate_hertz
        audio, size, chunks = self._of_model.get(config.model) or self._counters_of(config.model)
        audio.inc(seconds)
        size.inc(len(message.piece.data))
        chunks.inc()

    def _counters_of(self, model: str) -> tuple[Counter, Counter, Counter]:
        """Return what every chunk of a model counts up; to look labels up again takes longer than to count."""
        found = (self._audio.labels(model), self._bytes.labels(model), self._chunks.labels(model))
        self._of_model[model] = found
        return found

    def done(self, message: protocol.UtteranceDone, model: str) -> None:
        """Count an utterance's tokens, and its segments that did not end by themselves."""
        self._tokens.labels(model).inc(message.speech_tokens)
        for guarded in message.guarded_segments:
            self._guarded.labels(model, guarded.guard.value).inc()

    def __repr__(self) -> str:
        return "<_Outgoing>"
