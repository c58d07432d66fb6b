"""The voices that were spoken with last, where speech is computed: each goes there once, not with every utterance."""

import threading
from collections import OrderedDict
from typing import Final

import torch

from tts_service.speech.voice_conditionals import VoiceConditionals

MOST_VOICES: Final = 16
"""A quarter of a MiB each, with a prompt of ten seconds."""


class DeviceVoices:
    """Voices on `device`; the ones not asked for the longest go first, and stay while an utterance holds them.

    A voice is known by its object on the host, which is held as long. Thread-safe; on a GPU all who ask compute on one
    stream, which is the first that reads them.
    """

    def __init__(self, device: torch.device, most: int = MOST_VOICES) -> None:
        self._device = device
        self._most = most
        self._voices: OrderedDict[int, tuple[VoiceConditionals, VoiceConditionals]] = OrderedDict()
        self._lock = threading.Lock()

    def there(self, voice: VoiceConditionals) -> VoiceConditionals:
        """Return a voice on the device: the same object each time."""
        with self._lock:
            if id(voice) not in self._voices:
                self._voices[id(voice)] = (voice, voice.to(self._device))
                while len(self._voices) > self._most:
                    self._voices.popitem(last=False)
            self._voices.move_to_end(id(voice))
            return self._voices[id(voice)][1]

    def __repr__(self) -> str:
        return f"<DeviceVoices {len(self._voices)} of {self._most} on {self._device}>"
