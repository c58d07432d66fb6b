"""One decode of speech tokens to mel: our own forward over upstream's flow network, with the noise as an argument.

Given the same noise and `final`, the result is upstream's `CausalMaskedDiffWithXvec.inference`, bit for bit on a CPU.
Upstream's own call fails for tokens that others will follow (it cuts the look-ahead off the mel but not off its mask)
and draws its noise inside, where no chunk can be told what the last one drew.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Protocol

import torch
from torch.nn import functional

from tts_service.models.chatterbox.running_form import running_dtype

FRAMES_PER_TOKEN: Final = 2
"""25 tokens and 50 frames a second: the encoder doubles its rate once (`token_mel_ratio`)."""

LOOK_AHEAD_TOKENS: Final = 3
"""The encoder reads this far ahead (`pre_lookahead_len`), so these tokens give no mel before the ones behind them."""

GUIDED_STEPS: Final = 10
MEANFLOW_STEPS: Final = 2
"""Steps of the solver that upstream's `S3Token2Wav.flow_inference` takes, without and with a meanflow estimator."""


class Estimator(Protocol):
    """What a step of the solver asks for the direction; upstream's `ConditionalDecoder`."""

    meanflow: bool

    def __call__(
        self,
        x: torch.Tensor,
        *,
        mask: torch.Tensor,
        mu: torch.Tensor,
        t: torch.Tensor,
        spks: torch.Tensor,
        cond: torch.Tensor,
        r: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the direction at time `t` (meanflow: the mean one up to `r`), shaped as `x`."""
        ...


class FlowSolver(Protocol):
    """The part of upstream's `CausalConditionalCFM` that is used: its network and its guidance."""

    estimator: Estimator
    inference_cfg_rate: float


class FlowNetwork(Protocol):
    """`s3gen.flow` under a lease; upstream's `CausalMaskedDiffWithXvec`."""

    input_embedding: Callable[[torch.Tensor], torch.Tensor]
    spk_embed_affine_layer: Callable[[torch.Tensor], torch.Tensor]
    encoder: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    encoder_proj: Callable[[torch.Tensor], torch.Tensor]
    decoder: FlowSolver

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield its weights."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MelPrompt:
    """A voice as the flow takes it, on the flow's device.

    `tokens` (prompt tokens,), whole numbers; `mel` (prompt frames, 80), float32; `speaker` (192,), float32.
    """

    tokens: torch.Tensor
    mel: torch.Tensor
    speaker: torch.Tensor

    @classmethod
    def from_upstream(cls, conditionals: Mapping[str, torch.Tensor]) -> "MelPrompt":
        """Return the prompt in what upstream's `embed_ref` returns and `conds.pt` holds under "gen"."""
        return cls(
            tokens=conditionals["prompt_token"].reshape(-1).long(),
            mel=conditionals["prompt_feat"].reshape(-1, conditionals["prompt_feat"].shape[-1]),
            speaker=conditionals["embedding"].reshape(-1),
        )

    def trimmed(self) -> "MelPrompt":
        """Return the prompt with exactly two frames a token: the one deviation from upstream.

        A reference that is no multiple of 40 ms has an odd frame more, which upstream takes off what it makes (10
        tokens then give 19 frames). Without it, every token is 960 samples.
        """
        frames = FRAMES_PER_TOKEN * len(self.tokens)
        assert len(self.mel) >= frames
        return self if len(self.mel) == frames else replace(self, mel=self.mel[:frames])


def mel_frames(token_count: int, *, final: bool) -> int:
    """Return how many frames these many tokens give; without `final`, the last three only serve as look-ahead."""
    return FRAMES_PER_TOKEN * max(0, token_count if final else token_count - LOOK_AHEAD_TOKENS)


def flow_mel(
    flow: FlowNetwork, prompt: MelPrompt, tokens: torch.Tensor, noise: torch.Tensor, *, final: bool
) -> torch.Tensor:
    """Return the mel of `tokens` (tokens,) spoken after the prompt: (80, frames), float32.

    `noise` (80, frames) covers the frames of the prompt's tokens and then the tokens' own, as `mel_frames` counts
    them. What comes out begins where the prompt's mel ends. `final` says that no token follows.
    """
    with torch.inference_mode(), _arithmetic(running_dtype(flow), noise.device):
        hidden = _encode(flow, torch.cat([prompt.tokens, tokens])[None], final=final)
        mu = hidden.transpose(1, 2).contiguous().float()
        assert mu.shape[1:] == noise.shape
        mel = _solve(flow.decoder, noise[None], mu, _condition(prompt, mu), _speaker(flow, prompt))
        return mel[0, :, len(prompt.mel) :]


def _arithmetic(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Let products be made in the type of the weights; norms, times and the sum of the steps stay in fp32."""
    return nullcontext() if dtype is torch.float32 else torch.autocast(device.type, dtype=dtype)


def _encode(flow: FlowNetwork, tokens: torch.Tensor, *, final: bool) -> torch.Tensor:
    """Return (1, frames, 80): what the encoder makes of tokens, without those that are only look-ahead."""
    lengths = torch.tensor([tokens.shape[1]], device=tokens.device)
    hidden, _ = flow.encoder(flow.input_embedding(tokens), lengths)
    return flow.encoder_proj(hidden[:, : mel_frames(tokens.shape[1], final=final)])


def _condition(prompt: MelPrompt, mu: torch.Tensor) -> torch.Tensor:
    """Return what the estimator is shown of the result: the prompt's mel, and zeros where mel is to be made."""
    condition = torch.zeros_like(mu)
    condition[0, :, : len(prompt.mel)] = prompt.mel.T
    return condition


def _speaker(flow: FlowNetwork, prompt: MelPrompt) -> torch.Tensor:
    return flow.spk_embed_affine_layer(functional.normalize(prompt.speaker[None], dim=1)).float()


def _solve(
    solver: FlowSolver, noise: torch.Tensor, mu: torch.Tensor, condition: torch.Tensor, speaker: torch.Tensor
) -> torch.Tensor:
    """Walk from noise to mel along the estimator's directions (Euler's method)."""
    if solver.estimator.meanflow:
        direction, times = _mean_direction, torch.linspace(0, 1, MEANFLOW_STEPS + 1, device=mu.device)
    else:
        direction, times = _guided_direction, _cosine_times(GUIDED_STEPS, mu.device)
    mask = torch.ones_like(mu[:, :1])
    mel = noise
    for start, end in pairwise(times):
        mel = mel + (end - start) * direction(solver, mel, (start, end), mask, (mu, speaker, condition))
    return mel


def _cosine_times(steps: int, device: torch.device) -> torch.Tensor:
    """Return the times of the steps, which are shorter at the start (`t_scheduler: cosine`)."""
    return 1 - torch.cos(torch.linspace(0, 1, steps + 1, device=device) * 0.5 * torch.pi)


_Given = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""What the mel is made from: the encoder's output, the speaker, and the prompt's mel."""


def _guided_direction(
    solver: FlowSolver, mel: torch.Tensor, span: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, given: _Given
) -> torch.Tensor:
    """Return the direction with classifier-free guidance: one batch of two rows, the second is given nothing."""
    mu, speaker, condition = (torch.cat([each, torch.zeros_like(each)]) for each in given)
    rows = torch.cat([mel, mel])
    both = solver.estimator(
        rows, mask=torch.cat([mask, mask]), mu=mu, t=span[0].repeat(2), spks=speaker, cond=condition
    )
    with_given, without = both[:1], both[1:]
    return (1.0 + solver.inference_cfg_rate) * with_given - solver.inference_cfg_rate * without


def _mean_direction(
    solver: FlowSolver, mel: torch.Tensor, span: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, given: _Given
) -> torch.Tensor:
    """Return the mean direction over a step; guidance was distilled into the estimator."""
    mu, speaker, condition = given
    start, end = span
    return solver.estimator(mel, mask=mask, mu=mu, t=start[None], spks=speaker, cond=condition, r=end[None])
