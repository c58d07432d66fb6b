"""A segment decoded at once, in upstream's order: what fidelity is measured with.

The same state of torch's generators gives the samples of upstream's `S3Token2Wav.inference`: bit for bit on a CPU.
"""

from collections.abc import Sequence

import torch

from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, FlowNetwork, MelPrompt, flow_mel, mel_frames
from tts_service.speech.random_source import UpstreamRandom
from tts_service.speech.waveform import VocoderNetwork, faded_in, randomness, vocode
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME, harmonic_count, upstream_source


def upstream_mel(flow: FlowNetwork, prompt: MelPrompt, tokens: Sequence[int], random: UpstreamRandom) -> torch.Tensor:
    """Return the mel (80, frames) that upstream's `flow_inference` returns.

    The prompt is as upstream leaves it: where its mel has an odd frame more, the result has one less.
    """
    prompt_frames, frame_count = FRAMES_PER_TOKEN * len(prompt.tokens), mel_frames(len(tokens), final=True)
    random.draw_mel(prompt_frames=prompt_frames, frame_count=frame_count, meanflow=flow.decoder.estimator.meanflow)
    noise = random.mel_noise(-prompt_frames, prompt_frames + frame_count)
    return flow_mel(flow, prompt, torch.tensor(tokens, device=prompt.mel.device), noise, final=True)


def upstream_waveform(vocoder: VocoderNetwork, mel: torch.Tensor, random: UpstreamRandom) -> torch.Tensor:
    """Return the waveform (samples,) that upstream's `mel2wav.inference` returns for mel (80, frames)."""
    with torch.inference_mode():
        f0 = vocoder.f0_predictor(mel[None])[0]
        harmonics = harmonic_count(vocoder.m_source)
        random.draw_source(sample_count=SAMPLES_PER_FRAME * len(f0), harmonic_count=harmonics)
        drawn = randomness(vocoder, random, 0, len(f0), mel.device)
        return vocode(vocoder, mel, upstream_source(vocoder.m_source, f0, drawn))


def upstream_speech(
    flow: FlowNetwork, vocoder: VocoderNetwork, prompt: MelPrompt, tokens: Sequence[int], random: UpstreamRandom
) -> torch.Tensor:
    """Return the waveform (samples,) that upstream's `S3Token2Wav.inference` returns, its fade included."""
    return faded_in(upstream_waveform(vocoder, upstream_mel(flow, prompt, tokens, random), random), start_sample=0)
