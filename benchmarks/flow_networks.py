"""Flow networks with random weights on a device, a voice for them, and times: for measurements that need no speech."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch

from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import SPEAKER_VALUES, build_flow, tables
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, MelPrompt, mel_frames
from tts_service.speech.random_source import MEL_BANDS

SEED: Final = 7
PROMPT_TOKENS: Final = 250
"""A reference of 10 s."""


def random_flow(size: NetworkSize, device: torch.device, *, meanflow: bool) -> Any:
    """Return a flow network, in fp32, with random weights that keep signals at about their size."""
    flow = build_flow(size, meanflow=meanflow)
    computed = tables(flow)
    flow.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(SEED)
    for name, value in [*flow.named_parameters(), *flow.named_buffers()]:
        if name in computed:
            value.data.copy_(computed[name])
        elif value.dim() > 1:
            spread = 1.0 if "embedding" in name else 1 / math.sqrt(value[0].numel())
            value.data.normal_(0.0, spread, generator=generator)
        elif "norm" in name and name.endswith("weight"):
            value.data.fill_(1.0)
        else:
            value.data.normal_(0.0, 0.1, generator=generator)
    return flow


@dataclass(frozen=True, slots=True)
class Case:
    """One decode's input: `frames` is its whole length, the prompt's included."""

    prompt: MelPrompt
    tokens: torch.Tensor
    noise: torch.Tensor
    final: bool

    @property
    def frames(self) -> int:
        """The frames of the prompt, and those that come out."""
        return self.noise.shape[1]


def case_of(frames: int, device: torch.device, *, final: bool, prompt_tokens: int = PROMPT_TOKENS) -> Case:
    """Return any input of this length."""
    generator = torch.Generator().manual_seed(frames)
    prompt_tokens = min(prompt_tokens, frames // FRAMES_PER_TOKEN - 1)
    count = frames // FRAMES_PER_TOKEN - prompt_tokens + (0 if final else 3)
    assert FRAMES_PER_TOKEN * prompt_tokens + mel_frames(count, final=final) == frames
    prompt = MelPrompt(
        tokens=torch.randint(0, CODEBOOK_TOKENS, (prompt_tokens,), generator=generator).to(device),
        mel=torch.randn(FRAMES_PER_TOKEN * prompt_tokens, MEL_BANDS, generator=generator).to(device),
        speaker=torch.randn(SPEAKER_VALUES, generator=generator).to(device),
    )
    tokens = torch.randint(0, CODEBOOK_TOKENS, (count,), generator=generator).to(device)
    noise = torch.randn(MEL_BANDS, frames, generator=generator).to(device)
    return Case(prompt, tokens, noise, final)


def times_ms(work: Callable[[], object], device: torch.device, *, repeats: int, warm_up: int = 3) -> list[float]:
    """Return how long each run took, from the call until its work on the device was done, in order."""
    taken = []
    for turn in range(warm_up + repeats):
        _wait(device)
        begin = time.perf_counter()
        work()
        _wait(device)
        if turn >= warm_up:
            taken.append(1000 * (time.perf_counter() - begin))
    return sorted(taken)


def device_ms(work: Callable[[], object], device: torch.device, *, repeats: int) -> float:
    """Return one run's time on the device when many follow each other; on a CPU, simply its time."""
    if device.type == "cpu":
        return times_ms(work, device, repeats=2, warm_up=1)[0]
    work()
    spans: list[float] = []
    for _ in range(3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch's.
        begin.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        spans.append(begin.elapsed_time(end) / repeats)
    return min(spans)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
