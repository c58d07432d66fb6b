"""What a segment is spoken with, what it shares with its utterance's others, and what its tokens ask of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import Sampling
from tts_service.speech.stages import Stages
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.types import Segment


class SharedSpeech(Protocol):
    """What the segments of an utterance share and change: by the steps of a lane, which come one at a time.

    `chunks` and `tokens_cut` are the tokens' lane's, the rest that of sound.
    """

    chunks: int
    tokens_cut: int
    tokens_decoded: int
    has_sounded: bool

    def voice(self) -> VoiceConditionals:
        """Return the voice on the device."""
        ...

    def chunk_tokens(self, after: int = 0) -> int:
        """Return how many tokens the next chunk has, or the one so many after it."""
        ...

    def tail_tokens(self) -> int:
        """Return for how many more the next chunk waits: it has them too if they are the segment's last."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSetting:
    """What a segment is spoken with. `text` gives its tokens, and raises CallerError for a text that cannot be said.

    `alone`: nothing is computed together with others', so that it has the same bits every time.
    """

    model: ChatterboxModel
    device: torch.device
    stages: Stages
    sampling: Sampling
    seed: int
    text: Callable[[], torch.Tensor]
    alone: bool = False


class TokenOwner(Protocol):
    """The segment whose tokens they are."""

    @property
    def setting(self) -> SegmentSetting:
        """What it is spoken with."""
        ...

    @property
    def shared(self) -> SharedSpeech:
        """What it shares with its utterance's other segments."""
        ...

    @property
    def segment(self) -> Segment:
        """Its text."""
        ...

    @property
    def random(self) -> CounterRandom:
        """Its random numbers."""
        ...

    @property
    def chunks_waiting_most(self) -> int | None:
        """How many chunks may wait to become mel; None in turns."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        ...

    @property
    def awaits_sound(self) -> bool:
        """Whether its tokens rest until an utterance's first sound is made."""
        ...
