"""An utterance spoken at once, in upstream's order: what fidelity to upstream's `generate()` is measured with.

The same state of torch's generators gives the samples of `ChatterboxTTS.generate`, `ChatterboxMultilingualTTS.generate`
and `ChatterboxTurboTTS.generate` before their watermark, if the request has no guards of ours (`watch_loops` false, no
`text_budget`) and the prompt's mel is as upstream leaves it. The product speaks in chunks, see `chatterbox_speech`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.upstream import upstream
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.chatterbox_tokens import TURBO_TAIL
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.random_source import UpstreamRandom
from tts_service.speech.speech_tokens import SpeechTokens, TokenRequest
from tts_service.speech.whole_segment import upstream_speech


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechNetworks:
    """The modules that speak, all on one device: upstream's `T3`, `CausalMaskedDiffWithXvec` and `HiFTGenerator`."""

    t3: Any
    flow: Any
    vocoder: Any


def whole_utterance(
    networks: SpeechNetworks, request: TokenRequest, prompt: MelPrompt, random: UpstreamRandom
) -> torch.Tensor:
    """Return the waveform (samples,) that upstream's `generate()` returns for this text, voice and random state.

    ENGINE_FAULT if the logits are no numbers.
    """
    stream = SpeechTokens(request, random)
    while stream.finish is None:
        stream.step(networks.t3)
    tokens = sounding_tokens(stream.history, request.model)
    return upstream_speech(networks.flow, networks.vocoder, prompt, tokens, random)


def sounding_tokens(history: Sequence[int], model: ChatterboxModel) -> list[int]:
    """Return what of an utterance's tokens upstream gives to S3Gen.

    English and Multilingual leave out what precedes a start token, which no stream can: it has been played.
    """
    kept = torch.tensor(history)
    if model is not ChatterboxModel.TURBO:
        kept = upstream("models.s3tokenizer").drop_invalid_tokens(kept)
    tokens: list[int] = kept[kept < CODEBOOK_TOKENS].tolist()
    return [*tokens, *TURBO_TAIL] if model is ChatterboxModel.TURBO else tokens
