"""Bounds of one session."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds of one session."""

    utterance_text_bytes: int = 64 * 1024
    waiting_utterances: int = 16
    waiting_flushes: int = 64
    utterances: int = 10_000
    idle_timeout_seconds: float = 300.0
    progress_seconds: float = 2.0
    render_ahead_seconds: float = 1.0
    """Audio that may be rendered and held back by pacing: enough that the next piece is there when it may leave."""
    unsent_bytes: int = 1024 * 1024
    """Audio that may be rendered and not taken by the client, where nothing is paced."""
