"""What upstream's own loops say for a seed, and the logits on the way, from a copy of a network."""

import copy
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.upstream_t3 import upstream_twin
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.upstream import upstream
from tts_service.speech.random_source import UpstreamRandom
from tts_service.speech.speech_tokens import SpeechTokens, TokenRequest
from tts_service.speech.token_prompt import TokenVoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A run of a decode loop: `tokens` with the stop token if there was one, `logits` (steps, rows, vocabulary)."""

    tokens: list[int]
    logits: torch.Tensor


class LogitsRecorder:
    """Keeps what a speech head gives for the last position of each call."""

    def __init__(self, t3: Any) -> None:
        self._steps: list[torch.Tensor] = []
        t3.speech_head.register_forward_hook(self._keep)

    def _keep(self, _module: object, _inputs: object, output: torch.Tensor) -> None:
        self._steps.append(output.reshape(output.shape[0], -1, output.shape[-1])[:, -1].clone())

    def logits(self, steps: int) -> torch.Tensor:
        """Return those of the first steps; upstream computes one more after the limit."""
        return torch.stack(self._steps[:steps])


def upstream_conditioning(voice: TokenVoice, exaggeration: float) -> Any:
    """Return upstream's `T3Cond` of a voice."""
    return upstream("models.t3.modules.cond_enc").T3Cond(
        speaker_emb=voice.speaker[None],
        cond_prompt_speech_tokens=voice.tokens[None],
        emotion_adv=exaggeration * torch.ones(1, 1, 1),
    )


def upstream_run(t3: Any, request: TokenRequest, seed: int) -> Decoded:
    """Run upstream's `inference` or `inference_turbo` after seeding torch.

    Text has two rows, as upstream's loop needs even where `cfg_weight` is 0: the second then changes nothing.
    """
    t3 = upstream_twin(copy.deepcopy(t3))
    recorder = LogitsRecorder(t3)
    sampling = request.sampling
    conditioning = upstream_conditioning(request.voice, sampling.exaggeration)
    torch.manual_seed(seed)
    if request.model is ChatterboxModel.TURBO:
        tokens = t3.inference_turbo(
            conditioning,
            request.text[None],
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            max_gen_len=sampling.max_segment_tokens,
        )
    else:
        tokens = t3.inference(
            t3_cond=conditioning,
            text_tokens=request.text.repeat(2, 1),
            max_new_tokens=sampling.max_segment_tokens,
            temperature=sampling.temperature,
            cfg_weight=sampling.cfg_weight,
            repetition_penalty=sampling.repetition_penalty,
            min_p=sampling.min_p,
            top_p=sampling.top_p,
        )
    return Decoded(tokens=tokens[0].tolist(), logits=recorder.logits(tokens.shape[1]))


def our_run(t3: Any, request: TokenRequest, seed: int) -> tuple[Decoded, SpeechTokens]:
    """Run our loop on a copy, with the same random numbers; the guards are as the request has them."""
    t3 = upstream_twin(copy.deepcopy(t3))
    recorder = LogitsRecorder(t3)
    stream = SpeechTokens(request, UpstreamRandom(torch.Generator().manual_seed(seed)))
    while stream.finish is None:
        stream.step(t3)
    return Decoded(tokens=stream.history, logits=recorder.logits(len(stream.history))), stream
