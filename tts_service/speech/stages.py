"""How Chatterbox's stages compute: the seam between what a segment's stages hand to each other and the networks.

Eager stages run upstream's networks layer by layer: on any device, without preparation. They are the reference for
whatever is faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tts_service.errors import GreenroomError
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.speech.company import Company
from tts_service.speech.mel import MelState, decode_mel
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.random_source import CounterRandom, RandomSource
from tts_service.speech.resting import Leave
from tts_service.speech.speech_model import MarkStream, PrepareStep, Sound
from tts_service.speech.speech_tokens import SpeechTokens, TokenFinish, TokenRequest
from tts_service.speech.watermark import WatermarkStream
from tts_service.speech.waveform import WaveformState, sound
from tts_service.types import WATERMARK_ENCODER, ModuleName


class TokenStream(Protocol):
    """One segment's speech tokens on their way."""

    @property
    def finish(self) -> TokenFinish | None:
        """Why they ended; None until they have."""
        ...

    @property
    def history(self) -> Sequence[int]:
        """Every token so far, those outside the codebook included."""
        ...

    def advance(self, t3: Any, most: int) -> list[int]:
        """Compute at most so many tokens under a lease; return those that S3Gen is to have. Only while they go on.

        ENGINE_FAULT if the network computes no numbers; the stream cannot go on then.
        """
        ...

    def cancel(self) -> None:
        """End as soon as can be; may be called from any thread."""
        ...


class JoinedTokens(TokenStream, Protocol):
    """A stream that may have its tokens together with others', from its second one on."""

    def take(self, tokens: Sequence[int], t3: Any) -> list[int]:
        """Take what `TokenBursts.burst` computed; return those that S3Gen is to have. Raises ENGINE_FAULT."""
        ...

    @property
    def has_pages(self) -> bool:
        """Whether it holds memory of the device that could leave."""
        ...

    @property
    def is_away(self) -> bool:
        """Whether what it holds waits on the host."""
        ...

    def leave(self) -> Leave:
        """Have what it holds wait on the host until its next tokens. Not within a burst."""
        ...

    def close(self) -> None:
        """Give back what it holds: nobody wants the rest. Not within a burst."""
        ...


class TokenBursts(Protocol):
    """Tokens of several segments at once."""

    @property
    def most(self) -> int:
        """How many streams may have a burst together."""
        ...

    @property
    def free(self) -> int:
        """How many streams more may begin."""
        ...

    @property
    def under_way(self) -> int:
        """How many streams have begun and are not over."""
        ...

    def forget_room(self) -> None:
        """Give the system the host memory that nobody waits in."""
        ...

    def burst(self, t3: Any, streams: Sequence[Any], count: int) -> list[list[int] | GreenroomError]:
        """Compute so many tokens (8 at most) of each of the `JoinedTokens` under a lease, all with as many rows.

        Return for each stream what it is to take, or what it lacks: then it is as it was.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StageModules:
    """What a step of each stage needs leased."""

    tokens: frozenset[ModuleName] = frozenset({T3})
    mel: frozenset[ModuleName] = frozenset({S3GEN_FLOW})
    sound: frozenset[ModuleName] = frozenset({S3GEN_VOCODER})
    marks: frozenset[ModuleName] = frozenset({WATERMARK_ENCODER})

    @property
    def steps(self) -> tuple[frozenset[ModuleName], ...]:
        """All of them in the order of the data path, step by step."""
        return (self.tokens, self.mel, self.sound, self.marks)

    @property
    def all(self) -> tuple[ModuleName, ...]:
        """All but what only marks need, in the order of the data path, weights before scratch memory."""
        weights = (T3, S3GEN_FLOW, S3GEN_VOCODER)
        return (*weights, *sorted((self.tokens | self.mel | self.sound) - frozenset(weights)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReach:
    """How long what is computed at once should be, at most; None for as long as it comes.

    `decode_frames` are a decode's, prompt and context included; `sound_frames` those that become sound.
    """

    decode_frames: int | None = None
    sound_frames: int | None = None


class Stages(Protocol):
    """What computes. Nothing of a request stays on it: any number of segments may be under way."""

    @property
    def modules(self) -> StageModules:
        """What its steps need."""
        ...

    @property
    def reach(self) -> StageReach:
        """How long its work may be."""
        ...

    @property
    def bursts(self) -> TokenBursts | None:
        """What computes tokens of several streams at once, if anything does: then `tokens` are `JoinedTokens`."""
        ...

    @property
    def company(self) -> Company | None:
        """What makes sound of several segments at once, if anything does."""
        ...

    def tokens(self, request: TokenRequest, random: CounterRandom) -> TokenStream:
        """Begin a segment's speech tokens."""
        ...

    def mel(
        self, flow: Any, state: MelState, prompt: MelPrompt, random: RandomSource, *, final: bool
    ) -> tuple[MelState, torch.Tensor]:
        """Decode a state's tokens as `mel.decode_mel` does, under a lease on the flow."""
        ...

    def sound(
        self,
        vocoder: Any,
        state: WaveformState,
        mel: torch.Tensor,
        random: RandomSource,
        *,
        ahead: torch.Tensor,
        final: bool,
    ) -> tuple[WaveformState, Sound]:
        """Make sound of frozen mel as `waveform.sound` does, under a lease on the vocoder."""
        ...

    def marks(self, *, alone: bool = False) -> MarkStream:
        """Begin to mark an utterance; it is written what `sound` returns, and pauses from the host.

        `alone`: it shares nothing with others, and so has the same bits every time.
        """
        ...

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return what is to be done before the first utterance."""
        ...


class EagerStages:
    """Upstream's networks as they are; sound comes to the host when it is made, and is marked from there."""

    modules = StageModules()
    reach = StageReach()
    bursts: TokenBursts | None = None
    company: Company | None = None

    def tokens(self, request: TokenRequest, random: CounterRandom) -> SpeechTokens:
        """Begin a segment's speech tokens."""
        return SpeechTokens(request, random)

    def mel(
        self, flow: Any, state: MelState, prompt: MelPrompt, random: RandomSource, *, final: bool
    ) -> tuple[MelState, torch.Tensor]:
        """Decode a state's tokens."""
        return decode_mel(flow, state, prompt, random, final=final)

    def sound(
        self,
        vocoder: Any,
        state: WaveformState,
        mel: torch.Tensor,
        random: RandomSource,
        *,
        ahead: torch.Tensor,
        final: bool,
    ) -> tuple[WaveformState, Sound]:
        """Make sound of frozen mel."""
        state, wave = sound(vocoder, state, mel, random, ahead=ahead, final=final)
        return state, wave.float().cpu().numpy()

    def marks(self, *, alone: bool = False) -> MarkStream:
        """Begin to mark an utterance."""
        del alone
        return WatermarkStream()

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return nothing: there is nothing to prepare."""
        return ()

    def __repr__(self) -> str:
        return "<EagerStages>"
