"""What `tts-say` tells about a speech: how soon, how fast, how much. Pure; the caller says what time it is."""

import dataclasses
from dataclasses import dataclass, field

from greenroom_client.config import SessionConfig
from greenroom_client.events import AudioChunk, Cancelled, FinishReason, UtteranceResult
from greenroom_client.values import NewVoice


@dataclass(slots=True, kw_only=True)
class Figures:
    """Figures of one run, over all its utterances. Times are seconds of one monotonic clock."""

    output: str
    began_at: float | None = None
    """When the first text was at hand."""
    first_audio_at: float | None = None
    ended_at: float | None = None
    samples: int = 0
    audio_bytes: int = 0
    results: list[UtteranceResult] = field(default_factory=list)
    config: SessionConfig | None = None
    cancelled: Cancelled | None = None
    cloned: NewVoice | None = None

    def heard_text(self, now: float) -> None:
        """Note that there is text."""
        if self.began_at is None:
            self.began_at = now

    def heard_audio(self, chunk: AudioChunk, now: float) -> None:
        """Note audio that has come."""
        if self.first_audio_at is None and chunk.sample_count:
            self.first_audio_at = now
        self.samples += chunk.sample_count
        self.audio_bytes += len(chunk.data)

    def heard_end(self, result: UtteranceResult, now: float) -> None:
        """Note an utterance's end."""
        self.results.append(result)
        self.config = result.config
        self.ended_at = now

    @property
    def audio_seconds(self) -> float:
        """Length of the speech."""
        rate_hertz = self.config.sample_rate_hertz if self.config is not None else None
        return self.samples / rate_hertz if rate_hertz else 0.0

    @property
    def first_audio_seconds(self) -> float | None:
        """From the first text to the first audio, seen from here."""
        if self.began_at is None or self.first_audio_at is None:
            return None
        return self.first_audio_at - self.began_at

    @property
    def real_time_factor(self) -> float | None:
        """The service's compute time over audio time; below 1 is faster than speech."""
        samples = sum(result.samples for result in self.results)
        if not samples:
            return None
        return sum(result.real_time_factor * result.samples for result in self.results) / samples

    @property
    def has_words(self) -> bool:
        """False if the text held nothing to say."""
        return any(result.finish_reason is not FinishReason.EMPTY for result in self.results)

    @property
    def guards(self) -> list[str]:
        """What ended segments before the model did."""
        return [each.guard.value for result in self.results for each in result.guarded_segments]

    def line(self) -> str:
        """Return the figures for people."""
        parts = [f"{self.audio_seconds:.2f} s of speech to {self.output}"]
        if self.first_audio_seconds is not None:
            parts.append(f"first audio after {self.first_audio_seconds * 1000:.0f} ms")
        if self.real_time_factor:
            parts.append(f"real-time factor {self.real_time_factor:.3f} ({1 / self.real_time_factor:.0f}x real time)")
        if self.guards:
            parts.append(f"guards ended segments: {', '.join(self.guards)}; their last words may be missing")
        if not self.has_words:
            parts.append("the text held nothing to say")
        return " | ".join(parts)

    def to_json(self) -> dict[str, object]:
        """Return the figures for scripts."""
        config = self.config or SessionConfig()
        elapsed = None if self.began_at is None or self.ended_at is None else self.ended_at - self.began_at
        first = self.results[0] if self.results else None
        return {
            "output": self.output,
            "audio_seconds": self.audio_seconds,
            "samples": self.samples,
            "audio_bytes": self.audio_bytes,
            "sample_rate_hertz": config.sample_rate_hertz,
            "encoding": config.encoding,
            "model": config.model,
            "voice": config.voice,
            "language": config.language,
            "seed": config.seed,
            "first_audio_seconds": self.first_audio_seconds,
            "elapsed_seconds": elapsed,
            "real_time_factor": self.real_time_factor,
            "service_first_audio_seconds": first.first_audio_seconds if first else None,
            "queue_wait_seconds": first.queue_wait_seconds if first else None,
            "underruns": sum(result.underruns for result in self.results),
            "utterances": len(self.results),
            "segments": sum(len(result.segments) for result in self.results),
            "speech_tokens": sum(result.speech_tokens for result in self.results),
            "guards": self.guards,
            "cloned": dataclasses.asdict(self.cloned) if self.cloned else None,
            "finish_reason": self.results[-1].finish_reason if self.results else None,
            "interrupted": self.cancelled is not None,
            "text_spoken": self.cancelled.text_spoken if self.cancelled else None,
            "text_unspoken": self.cancelled.text_unspoken if self.cancelled else None,
        }
