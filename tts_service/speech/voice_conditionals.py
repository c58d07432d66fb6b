"""A voice as numbers: what T3 and the flow take of a speaker, in plain tensors.

Exaggeration and language are values of a request and no part of it: one voice serves all of them at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.token_prompt import TokenVoice


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceConditionals:
    """A voice, all of it on one device. `prompt` is trimmed: two frames of mel for each token."""

    tokens: TokenVoice
    prompt: MelPrompt

    @classmethod
    def from_upstream(cls, t3: Mapping[str, Any], gen: Mapping[str, Any]) -> Self:
        """Return the voice in what upstream's `conds.pt` holds under "t3" and "gen"."""
        return cls(tokens=TokenVoice.from_upstream(t3), prompt=MelPrompt.from_upstream(gen).trimmed())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return its tensors by name, as a voice's file has them."""
        return {
            "t3.speaker": self.tokens.speaker,
            "t3.tokens": self.tokens.tokens,
            "flow.tokens": self.prompt.tokens,
            "flow.mel": self.prompt.mel,
            "flow.speaker": self.prompt.speaker,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """Return the voice of these tensors; KeyError if one is missing."""
        return cls(
            tokens=TokenVoice(speaker=tensors["t3.speaker"], tokens=tensors["t3.tokens"]),
            prompt=MelPrompt(tokens=tensors["flow.tokens"], mel=tensors["flow.mel"], speaker=tensors["flow.speaker"]),
        )

    def to(self, device: torch.device | str) -> Self:
        """Return the voice on a device; itself if it is there."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return type(self).from_tensors(moved)

    @property
    def byte_count(self) -> int:
        """What it takes on a device."""
        return sum(tensor.nbytes for tensor in self.tensors().values())
