"""A segment decoded at once: by our scheme, as streaming ends up, and in upstream's order, as upstream would.

Upstream's order is what fidelity is measured with: the same random state gives the samples of `S3Token2Wav.inference`.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

from tts_service.speech.mel import MEL_BANDS
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, FlowNetwork, MelPrompt, flow_mel, mel_frames
from tts_service.speech.waveform import VocoderNetwork, faded_in, vocode
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME, Randomness, harmonic_count, upstream_source


class UpstreamDraws(Protocol):
    """Random numbers as upstream takes them: from a generator, in the order of the calls."""

    def normal(self, *shape: int) -> torch.Tensor:
        """Return standard normal numbers from the device's generator."""
        ...

    def uniform(self, *shape: int) -> torch.Tensor:
        """Return uniform numbers in [0, 1) from the CPU's generator, whatever the device."""
        ...


def upstream_mel(
    flow: FlowNetwork, prompt: MelPrompt, tokens: Sequence[int], draws: UpstreamDraws
) -> torch.Tensor:
    """Return the mel (80, frames) that upstream's `flow_inference` returns for the same random state.

    The prompt is as upstream leaves it: where its mel has an odd frame more, the result has one less.
    """
    own_frames = mel_frames(len(tokens), final=True)
    own = draws.normal(1, MEL_BANDS, own_frames) if flow.decoder.estimator.meanflow else None
    noise = draws.normal(1, MEL_BANDS, FRAMES_PER_TOKEN * len(prompt.tokens) + own_frames)[0]
    if own is not None:
        noise = torch.cat([noise[:, :-own_frames], own[0]], dim=1)
    return flow_mel(flow, prompt, torch.tensor(tokens, device=prompt.mel.device), noise, final=True)


def upstream_waveform(vocoder: VocoderNetwork, mel: torch.Tensor, draws: UpstreamDraws) -> torch.Tensor:
    """Return the waveform (samples,) that upstream's `mel2wav.inference` returns for the same random state."""
    with torch.inference_mode():
        f0 = vocoder.f0_predictor(mel[None])[0]
        count = harmonic_count(vocoder.m_source)
        phases = -torch.pi + draws.uniform(count) * (2 * torch.pi)
        phases[0] = 0
        noise = draws.normal(1, count, SAMPLES_PER_FRAME * len(f0))[0]
        draws.normal(1, SAMPLES_PER_FRAME * len(f0), 1)  # Upstream draws noise for a branch that it does not use.
        randomness = Randomness(phases=phases.to(mel.device), noise=noise)
        return vocode(vocoder, mel, upstream_source(vocoder.m_source, f0, randomness))


def upstream_speech(
    flow: FlowNetwork, vocoder: VocoderNetwork, prompt: MelPrompt, tokens: Sequence[int], draws: UpstreamDraws
) -> torch.Tensor:
    """Return the waveform (samples,) that upstream's `S3Token2Wav.inference` returns for the same random state."""
    wave = upstream_waveform(vocoder, upstream_mel(flow, prompt, tokens, draws), draws)
    return faded_in(wave, start_sample=0)
