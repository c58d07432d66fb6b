"""The voices that T3 was shown last, as it reads them: the part of a prompt that is the same for every text.

Computed layer by layer: captured, it would be one more graph for every length of a voice's tokens.
"""

from collections import OrderedDict
from typing import Final

import torch

from tts_service.speech.token_backbone import T3Network
from tts_service.speech.token_prompt import TokenVoice, voice_embeddings

MOST_VOICES: Final = 16
"""70 KiB each, of Turbo 750."""


class ShownVoices:
    """Embeddings by voice and liveliness, on the network's device; the ones not asked for the longest go first.

    A voice is known by its object, which is held as long. Not thread-safe; all work is on the caller's stream, which is
    always the same one.
    """

    def __init__(self, most: int = MOST_VOICES) -> None:
        self._most = most
        self._shown: OrderedDict[tuple[int, float], tuple[TokenVoice, torch.Tensor]] = OrderedDict()

    def embeddings(self, t3: T3Network, voice: TokenVoice, exaggeration: float) -> torch.Tensor:
        """Return `voice_embeddings` of the same."""
        key = (id(voice), exaggeration)
        if key not in self._shown:
            self._shown[key] = (voice, voice_embeddings(t3, voice, exaggeration))
            while len(self._shown) > self._most:
                self._shown.popitem(last=False)
        self._shown.move_to_end(key)
        return self._shown[key][1]

    def __repr__(self) -> str:
        return f"<ShownVoices {len(self._shown)} of {self._most}>"
