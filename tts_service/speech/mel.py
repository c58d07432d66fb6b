"""The mel of one segment while its speech tokens arrive.

Rules
* A decode sees the prompt, at most CONTEXT_TOKENS of the tokens whose mel is out already, the new ones and three of
  look-ahead. Its cost is bounded, whatever the segment's length.
* Noise belongs to the absolute frame, so that every decode begins from the same noise for the same frame.
* Even so, mel that is out moves when tokens arrive (by 0.07 to 0.23 of its deviation, from the estimator). So the last
  HELD_FRAMES of a decode are held back, blended with the next decode's, and then frozen: what went out never changes.
* At the end everything comes out: `frozen_frames` is then two for each token.
* The state is a value. A step returns the next one, so that a step that fails can be made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final, Protocol

import torch

from tts_service.errors import Reason, ServiceError
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, FlowNetwork, MelPrompt, flow_mel, mel_frames
from tts_service.speech.random_source import MEL_BANDS, RandomSource

CONTEXT_TOKENS: Final = 250
"""10 s. A prefix without bound costs 1.06, 1.5 and 2.2 times the frames of a 2 s window at 5, 20 and 40 s."""

HELD_FRAMES: Final = 8
"""0.16 s."""


class FlowForward(Protocol):
    """One decode, as `flow_mel` defines it; what computes it may be another."""

    def __call__(
        self, flow: FlowNetwork, prompt: MelPrompt, tokens: torch.Tensor, noise: torch.Tensor, *, final: bool
    ) -> torch.Tensor:
        """Return the mel (80, frames) of tokens (tokens,) spoken after the prompt."""
        ...


class MelNoise(Protocol):
    """A decode's noise, as `mel_noise` defines it; what draws it may be another."""

    def __call__(self, random: RandomSource, prompt_frames: int, start_frame: int, count: int) -> torch.Tensor:
        """Return (80, frames): the prompt's, and those of `count` frames from an absolute one."""
        ...


def mel_noise(random: RandomSource, prompt_frames: int, start_frame: int, count: int) -> torch.Tensor:
    """Return the noise of a decode (80, prompt's frames and `count`): the prompt's frames are those before 0."""
    return torch.cat([random.mel_noise(-prompt_frames, prompt_frames), random.mel_noise(start_frame, count)], dim=1)


@cache
def no_mel() -> torch.Tensor:
    """Return no frame (80, 0) on the host: one for all segments, because each operation lets go of Python's lock."""
    return torch.zeros(MEL_BANDS, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MelState:
    """A segment's mel on its way: all tokens so far, how many frames are out, and those held back (80, 0 to 8)."""

    tokens: tuple[int, ...] = ()
    frozen_frames: int = 0
    held: torch.Tensor = field(default_factory=no_mel)

    @property
    def decoded_frames(self) -> int:
        """How far the last decode reached."""
        return self.frozen_frames + self.held.shape[1]

    def __repr__(self) -> str:
        return f"<MelState {len(self.tokens)} tokens | {self.frozen_frames} frames out, {self.held.shape[1]} held>"


def with_tokens(state: MelState, tokens: Sequence[int]) -> MelState:
    """Return the state with these tokens after those it has. ENGINE_FAULT for what is in no codebook.

    Looking such a token up would end in a device-side assert, which kills the CUDA context.
    """
    if not all(0 <= token < CODEBOOK_TOKENS for token in tokens):
        raise ServiceError(Reason.ENGINE_FAULT, "a speech token is outside the codebook")
    return replace(state, tokens=(*state.tokens, *tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class MelDecode:
    """A decode that a state wants: what the flow is given beside the prompt, and where it stands.

    `noise` (80, frames) is what it was drawn as: to be used before more is drawn. What comes out begins at
    `start_frame` of the segment.
    """

    tokens: torch.Tensor
    noise: torch.Tensor
    start_frame: int
    final: bool


def decode_mel(
    flow: FlowNetwork,
    state: MelState,
    prompt: MelPrompt,
    random: RandomSource,
    *,
    final: bool,
    forward: FlowForward = flow_mel,
    noise: MelNoise = mel_noise,
) -> tuple[MelState, torch.Tensor]:
    """Decode the tokens of a state; return the next state, and the frames that are now frozen (80, 0 or more).

    `final` says that no token follows. `prompt` is trimmed. Nothing comes out while there are too few tokens. `forward`
    is given the network and computes the decode, from what `noise` draws.
    """
    decode = wanted_decode(state, prompt, random, final=final, noise=noise)
    if decode is None:
        return state, prompt.mel.new_zeros(MEL_BANDS, 0)
    with torch.inference_mode():
        made = forward(flow, prompt, decode.tokens, decode.noise, final=final)
    return with_mel(state, decode, made)


def wanted_decode(
    state: MelState, prompt: MelPrompt, random: RandomSource, *, final: bool, noise: MelNoise = mel_noise
) -> MelDecode | None:
    """Return the decode of a state's tokens, as `decode_mel` makes it; None while there are too few."""
    end = mel_frames(len(state.tokens), final=final)
    if end <= state.decoded_frames:
        return None
    with torch.inference_mode():
        first_token = context_start(state.frozen_frames)
        start, prompt_frames = FRAMES_PER_TOKEN * first_token, FRAMES_PER_TOKEN * len(prompt.tokens)
        assert len(prompt.mel) == prompt_frames, "the prompt is not trimmed"
        device = prompt.mel.device
        drawn = noise(random, prompt_frames, start, end - start).to(device)
        tokens = torch.tensor(state.tokens[first_token:], device=device)
    return MelDecode(tokens=tokens, noise=drawn, start_frame=start, final=final)


def with_mel(state: MelState, decode: MelDecode, made: torch.Tensor) -> tuple[MelState, torch.Tensor]:
    """Return the state after the decode that it wanted made this mel (80, frames), and the frames that are frozen."""
    with torch.inference_mode():
        window = made[:, state.frozen_frames - decode.start_frame :]
        fresh = _blended(state.held, window)
        frozen_count = fresh.shape[1] if decode.final else max(0, fresh.shape[1] - HELD_FRAMES)
        frozen, held = fresh[:, :frozen_count], fresh[:, frozen_count:].clone()
        return replace(state, frozen_frames=state.frozen_frames + frozen_count, held=held), frozen


def context_start(frozen_frames: int) -> int:
    """Return the first token that a decode sees after the prompt, when this much mel is out."""
    return max(0, frozen_frames // FRAMES_PER_TOKEN - CONTEXT_TOKENS)


def fitting_tokens(most_frames: int, prompt_tokens: int, cut_tokens: int) -> int:
    """Return how many tokens a decode may bring after `cut_tokens` of its segment, to be no longer than `most_frames`.

    0 or less if what it sees besides is as long by itself.
    """
    frozen_frames = max(0, mel_frames(cut_tokens, final=False) - HELD_FRAMES)
    return most_frames // FRAMES_PER_TOKEN - prompt_tokens - (cut_tokens - context_start(frozen_frames))


def _blended(held: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
    """Return fresh frames that begin as what was held and become themselves while it lasts."""
    count = held.shape[1]
    assert count <= fresh.shape[1]
    share = torch.arange(1, count + 1, device=fresh.device) / (count + 1)
    return torch.cat([torch.lerp(held.to(fresh.device), fresh[:, :count], share), fresh[:, count:]], dim=1)
