"""A voice from reference audio, step by step, each under a lease on the one module that it needs.

Given the same 24 kHz samples and weights, the result is what upstream's `prepare_conditionals` leaves on its model
object (with the prompt's mel trimmed to two frames a token). Upstream resamples to 16 kHz in two ways, and so does
this: with soxr for what T3 takes, with torchaudio's windowed sinc for what the flow takes.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import S3GEN_SPEAKER_ENCODER, S3GEN_TOKENIZER, VOICE_ENCODER
from tts_service.models.chatterbox.t3_network import t3_hyper_parameters
from tts_service.models.chatterbox.upstream import late_import, quiet, upstream
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, MelPrompt
from tts_service.speech.reference_resampling import resampled
from tts_service.speech.token_prompt import TokenVoice
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, ModuleName, Waveform

ENCODER_MODULES: Final = frozenset({S3GEN_TOKENIZER, S3GEN_SPEAKER_ENCODER, VOICE_ENCODER})
"""What all the steps need between them."""

ENCODER_RATE_HERTZ: Final = 16_000
FLOW_SECONDS: Final = 10
"""Upstream's `DEC_COND_LEN`: what the flow hears of a reference."""

TURBO_LOUDNESS_LUFS: Final = -27.0
"""Upstream's `norm_loudness`, which only Turbo has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingRules:
    """What differs between the models: tokens that T3 takes of a voice, the seconds they are made from, loudness."""

    prompt_tokens: int
    prompt_seconds: int
    loudness_lufs: float | None


def encoding_rules(model: ChatterboxModel) -> EncodingRules:
    """Return a model's rules: `ENC_COND_LEN` of upstream's `tts.py`, `mtl_tts.py` and `tts_turbo.py`, and T3's own."""
    is_turbo = model is ChatterboxModel.TURBO
    return EncodingRules(
        prompt_tokens=t3_hyper_parameters(model, NetworkSize.FULL).speech_cond_prompt_len,
        prompt_seconds=15 if is_turbo else 6,
        loudness_lufs=TURBO_LOUDNESS_LUFS if is_turbo else None,
    )


class VoiceEncoding:
    """One voice on its way, from `samples`: mono, 24 kHz, checked by `read_reference`.

    All that its steps import and have compiled is there before the first: on a new machine that takes half a minute,
    for which no module is to be held; nor is it to be taken for a step that hangs.
    """

    def __init__(self, samples: Waveform, rules: EncodingRules) -> None:
        _rehearse()
        if rules.loudness_lufs is not None:
            samples = _at_loudness(samples, rules.loudness_lufs)
        self._rules = rules
        self._flow_samples = torch.from_numpy(samples[: FLOW_SECONDS * MODEL_SAMPLE_RATE_HERTZ])
        self._flow_samples_16k = _torchaudio_resampled(self._flow_samples)
        self._samples_16k = resampled(samples, MODEL_SAMPLE_RATE_HERTZ, ENCODER_RATE_HERTZ)
        self._made: dict[str, torch.Tensor] = {}
        self._steps: list[tuple[ModuleName, str, Callable[[Any], torch.Tensor]]] = [
            (S3GEN_TOKENIZER, "flow.tokens", self._flow_tokens),
            (S3GEN_TOKENIZER, "t3.tokens", self._prompt_tokens),
            (S3GEN_SPEAKER_ENCODER, "flow.speaker", self._flow_speaker),
            (VOICE_ENCODER, "t3.speaker", self._speaker),
        ]

    @property
    def next_modules(self) -> frozenset[ModuleName]:
        """The modules that the next step needs; empty once the voice is made."""
        return frozenset({self._steps[0][0]}) if self._steps else frozenset()

    def step(self, leased: Mapping[ModuleName, Any]) -> None:
        """Compute the next step with its leased modules, of which nothing is kept."""
        module, name, compute = self._steps[0]
        with torch.inference_mode(), quiet():
            made = compute(leased[module])
        self._made[name] = made.detach().cpu().clone()  # Outside inference mode, so that it is a plain tensor.
        del self._steps[0]

    def voice(self) -> VoiceConditionals:
        """Return what all the steps have made, on the CPU."""
        assert not self._steps, "the voice is not made yet"
        mel = _mel(self._flow_samples)
        tokens = self._made["flow.tokens"][: len(mel) // FRAMES_PER_TOKEN]
        return VoiceConditionals(
            tokens=TokenVoice(speaker=self._made["t3.speaker"], tokens=self._made["t3.tokens"]),
            prompt=MelPrompt(tokens=tokens, mel=mel, speaker=self._made["flow.speaker"]).trimmed(),
        )

    # --- the steps ----------------------------------------------------------------------------------------------

    def _flow_tokens(self, tokenizer: Any) -> torch.Tensor:
        tokens: torch.Tensor = tokenizer(self._flow_samples_16k[None])[0]
        return tokens.reshape(-1)

    def _prompt_tokens(self, tokenizer: Any) -> torch.Tensor:
        heard = self._samples_16k[: self._rules.prompt_seconds * ENCODER_RATE_HERTZ]
        tokens: torch.Tensor = tokenizer([heard], max_len=self._rules.prompt_tokens)[0]
        return tokens.reshape(-1)

    def _flow_speaker(self, speaker_encoder: Any) -> torch.Tensor:
        device = next(speaker_encoder.parameters()).device
        speaker: torch.Tensor = speaker_encoder.inference(self._flow_samples_16k[None].to(device))
        return speaker.reshape(-1)

    def _speaker(self, voice_encoder: Any) -> torch.Tensor:
        embeddings = voice_encoder.embeds_from_wavs([self._samples_16k], sample_rate=ENCODER_RATE_HERTZ)
        return torch.from_numpy(embeddings).mean(dim=0)

    def __repr__(self) -> str:
        return f"<VoiceEncoding {len(self._samples_16k) / ENCODER_RATE_HERTZ:.1f} s | {len(self._steps)} steps to go>"


@functools.cache
def _rehearse() -> None:
    """Use what upstream's encoders take of librosa: its parts are imported, and compiled, when they are first used."""
    librosa, noise = late_import("librosa"), np.random.default_rng(0).standard_normal(ENCODER_RATE_HERTZ)
    with quiet():
        librosa.effects.trim(noise.astype(np.float32), top_db=20)
        librosa.stft(noise.astype(np.float32), n_fft=400, hop_length=160)
        librosa.filters.mel(sr=ENCODER_RATE_HERTZ, n_fft=400, n_mels=40)
        upstream("models.s3gen.utils.mel")


def _mel(samples: torch.Tensor) -> torch.Tensor:
    """Return the mel of samples, (frames, 80): always on the CPU, because upstream keeps its tables for good."""
    with quiet():
        mel: torch.Tensor = upstream("models.s3gen.utils.mel").mel_spectrogram(samples[None])
    return mel[0].T.contiguous()


def _torchaudio_resampled(samples: torch.Tensor) -> torch.Tensor:
    resample = late_import("torchaudio.transforms").Resample(MODEL_SAMPLE_RATE_HERTZ, ENCODER_RATE_HERTZ)
    made: torch.Tensor = resample(samples)
    return made


def _at_loudness(samples: Waveform, loudness_lufs: float) -> Waveform:
    """Return samples at a loudness by ITU-R BS.1770; what is too soft to be measured stays as it is."""
    with quiet():
        meter = late_import("pyloudnorm").Meter(MODEL_SAMPLE_RATE_HERTZ)
        gain = 10.0 ** ((loudness_lufs - float(meter.integrated_loudness(samples))) / 20.0)
    if not math.isfinite(gain) or gain <= 0.0:
        return samples
    return (samples * np.float64(gain)).astype(np.float32)  # Rounded once, as upstream's product is.
