"""What the edge asks of the engine, wherever that is: in this process, or in one of its own.

Everything here is a value that can be written down, so that a process boundary may lie in between. It needs no torch.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from tts_service.speech.new_voice import NewVoice
from tts_service.speech.rendering import Order, RenderEvent
from tts_service.speech.session_config import VoiceFacts
from tts_service.speech.watermark import Detection
from tts_service.types import AudioFormat

Emit = Callable[[RenderEvent], None]
"""Takes what a renderer says, in the event loop."""


class SessionRenderer(Protocol):
    """Carries out one session's orders."""

    def submit(self, order: Order) -> None:
        """Take an order, in the event loop; what comes of it is emitted later, never from within."""
        ...

    async def run(self) -> None:
        """Carry out orders until cancelled; what is under way then ends."""
        ...


class SpeechEngine(Protocol):
    """What sessions speak with."""

    def prefetch(self, model: str) -> None:
        """Hear that speech with a model will be wanted soon."""
        ...

    def renderer(self, emit: Emit) -> SessionRenderer:
        """Return what carries out a new session's orders, and emits what comes of them."""
        ...


class VoiceMaking(Protocol):
    """What makes voices of uploads, and deletes them."""

    def called(self) -> AbstractContextManager[object]:
        """Return a block during which the encoders are wanted: they come while the rest is uploaded."""
        ...

    async def made(self, wanted: NewVoice, content: bytes) -> tuple[VoiceFacts, bool]:
        """Make and keep a voice, and tell whether it was there already; who is cancelled ends the work.

        Raises CallerError BAD_AUDIO, or what leases and the disk raise.
        """
        ...

    def delete(self, voice_id: str) -> None:
        """Delete a voice; may wait for the disk. Raises VOICE_NOT_FOUND, or BAD_CONFIG for a model's own."""
        ...


class WatermarkSearching(Protocol):
    """What looks for the watermark in uploads."""

    async def look(self, data: bytes, audio_format: AudioFormat) -> Detection:
        """Decode and look. Raises CallerError BAD_AUDIO, or what leases raise."""
        ...
