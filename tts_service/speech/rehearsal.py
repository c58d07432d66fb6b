"""A first segment that nobody hears: whoever speaks first would wait for what everybody's first prompt brings along.

Reading a prompt is partly upstream's own code. The first time, that is imported, and its kernels are loaded onto the
device: 1.4 s on an H100, during which nobody else had tokens either.
"""

from typing import Final, cast

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.t3_network import T3
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_model import Modules
from tts_service.speech.speech_tokens import TokenRequest
from tts_service.speech.stages import JoinedTokens, Stages
from tts_service.speech.token_prompt import TokenVoice

SENTENCE: Final = "Is everybody in their places, and are the lights down?"
BURSTS: Final = 2
"""The first one comes with the prompt."""
TOKENS: Final = 8


def rehearse_tokens(stages: Stages, model: ChatterboxModel, text: torch.Tensor, leased: Modules) -> None:
    """Read a prompt with `text` (text tokens,) and make some tokens, under a lease on what the stages need for that.

    The voice is nobody's. Nothing stays of it. Raises ServiceError: DEVICE_MEMORY, or ENGINE_FAULT if the network
    computes no numbers.
    """
    t3 = leased[T3]
    device = t3.speech_head.weight.device
    channels = t3.hp.speaker_embed_size
    request = TokenRequest(
        model=model,
        text=text,
        voice=TokenVoice(
            speaker=torch.full((channels,), channels**-0.5, device=device),
            tokens=torch.zeros(t3.hp.speech_cond_prompt_len, dtype=torch.int64, device=device),
        ),
        sampling=default_sampling(model),
    )
    stream = cast("JoinedTokens", stages.tokens(request, CounterRandom(seed=0, segment=0, device=device)))
    try:
        for _ in range(BURSTS):
            if stream.finish is None:
                stream.advance(t3, TOKENS)
    finally:
        stream.close()
