"""T3's networks, tiny, with random weights that can be planted, so that what they say has the course of speech.

A planted network's head has a bias on each token's logit. Channel 1 is kept by all layers and rises with the position,
so that the head's second column says which logits rise: a stop token that comes in time, or not at all.
"""

import copy
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.t3_network import build_t3
from tts_service.speech.token_prompt import TokenVoice

START, STOP = 6561, 6562
RISE_BY_STEP = 0.05


@cache
def _network(model: ChatterboxModel) -> Any:
    generator = torch.Generator().manual_seed(11)
    t3 = build_t3(model, NetworkSize.TINY)
    state = {name: _random(name, value, generator) for name, value in t3.state_dict().items()}
    t3.load_state_dict(state, assign=True)
    return t3.requires_grad_(requires_grad=False)


def tiny_t3(
    model: ChatterboxModel, bias: Mapping[int, float] | None = None, rise: Mapping[int, float] | None = None
) -> Any:
    """Return a network of one's own. `bias` by token is added to its logit, `rise` about so much for every step.

    A planted network's other logits differ little, so that these decide. Without either, all weights are random.
    """
    torch.set_num_threads(1)  # Networks as small as these are slower on several.
    t3 = copy.deepcopy(_network(model))
    if bias is not None or rise is not None:
        _plant(t3, bias or {}, rise or {})
    return t3


def tiny_voice(model: ChatterboxModel, seed: int = 3) -> TokenVoice:
    """Return T3's part of a voice, of the length that the model's voices have."""
    generator = torch.Generator().manual_seed(seed)
    count = _network(model).hp.speech_cond_prompt_len
    speaker = torch.randn(256, generator=generator)
    return TokenVoice(speaker=speaker / speaker.norm(), tokens=torch.randint(0, 6561, (count,), generator=generator))


def tiny_text(model: ChatterboxModel, count: int = 20, seed: int = 5) -> torch.Tensor:
    """Return text tokens (count,), with start and stop tokens for the models that have them."""
    generator = torch.Generator().manual_seed(seed)
    hyper_parameters = _network(model).hp
    text = torch.randint(1, 255, (count,), generator=generator)
    if model is not ChatterboxModel.TURBO:
        text[0], text[-1] = hyper_parameters.start_text_token, hyper_parameters.stop_text_token
    return text


def _random(name: str, value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if value.ndim < 2:
        around = 1.0 if "norm" in name or ("ln_" in name and name.endswith("weight")) else 0.0
        return around + 0.1 * torch.randn(value.shape, generator=generator)
    noise = torch.randn(value.shape, generator=generator)
    if "emb" in name or "wpe" in name or "query" in name:
        return 0.5 * noise
    # Sharp enough that attention differs between positions, and logits between tokens.
    return noise * 2.0 / math.sqrt(value.shape[0] if ".h." in name else value.shape[-1])


def _plant(t3: Any, bias: Mapping[int, float], rise: Mapping[int, float]) -> None:
    head = t3.speech_head
    head.weight *= 0.1
    head.weight[:, 1] = 0.0
    head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)), requires_grad=False)
    for token, value in bias.items():
        head.bias[token] = value
    for token, value in rise.items():
        head.weight[token, 1] = value / RISE_BY_STEP
    _keep_channel_to_position(t3)


def _keep_channel_to_position(t3: Any) -> None:
    """Let channel 1 hold the position in the speech and nothing else, through all layers."""
    for layer in t3.tfmr.h if t3.is_gpt else t3.tfmr.layers:
        if t3.is_gpt:
            for part in (layer.attn.c_proj, layer.mlp.c_proj):
                part.weight[:, 1] = 0.0
                part.bias[1] = 0.0
        else:
            layer.self_attn.o_proj.weight[1] = 0.0
            layer.mlp.down_proj.weight[1] = 0.0
    t3.speech_emb.weight[:, 1] = 0.0
    places = t3.tfmr.wpe.weight if t3.is_gpt else t3.speech_pos_emb.emb.weight
    first = t3.hp.speech_cond_prompt_len if t3.is_gpt else 0
    places[:, 1] = RISE_BY_STEP * (torch.arange(len(places)) - first)
