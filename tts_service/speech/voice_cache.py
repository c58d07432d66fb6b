"""The voices that were spoken with last, in memory."""

import threading
from collections import OrderedDict

from tts_service.speech.voice_conditionals import VoiceConditionals


class VoiceCache:
    """Voices up to a number of bytes; the ones that were not asked for the longest go first. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._voices: OrderedDict[str, VoiceConditionals] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, voice_id: str) -> VoiceConditionals | None:
        """Return a voice if it is here."""
        with self._lock:
            if voice_id in self._voices:
                self._voices.move_to_end(voice_id)
            return self._voices.get(voice_id)

    def keep(self, voice_id: str, voice: VoiceConditionals) -> None:
        """Keep a voice, and let go of those that were not asked for the longest."""
        with self._lock:
            self._voices[voice_id] = voice
            while self.byte_count > self._max_bytes:
                self._voices.popitem(last=False)

    def forget(self, voice_id: str) -> None:
        """Let go of a voice."""
        with self._lock:
            self._voices.pop(voice_id, None)

    @property
    def byte_count(self) -> int:
        """What the voices here take."""
        return sum(each.byte_count for each in self._voices.values())

    def __repr__(self) -> str:
        return f"<VoiceCache {len(self._voices)} voices, {self.byte_count >> 10} KiB>"
