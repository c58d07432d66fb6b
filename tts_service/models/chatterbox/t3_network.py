"""Builds T3, the network from text to speech tokens: a Llama for English and Multilingual, a GPT-2 for Turbo.

Rules
* T3 is one module (`t3`), built without memory for its weights (on torch's meta device). A loader gives them theirs, by
  upstream's names. What is computed and not loaded (the rotary frequencies) is there from the start, on the CPU.
* TINY has upstream's structure, vocabularies, positions and prompt lengths with narrow layers, and few of them.
  Multilingual keeps sixteen heads and fourteen layers, because the heads that follow the text are in layers 9, 12, 13.
* Upstream looks its backbone's numbers up in a dictionary of its own; the tiny ones stand there under names of ours,
  which nothing of upstream's uses.
"""

from typing import Any, Final

import torch
from torch.nn import functional

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.upstream import quiet, upstream
from tts_service.types import ModuleName

T3: Final = ModuleName("t3")

UNUSED_KEYS: Final = {
    ChatterboxModel.ENGLISH: frozenset[str](),
    ChatterboxModel.MULTILINGUAL: frozenset[str](),
    ChatterboxModel.TURBO: frozenset({"tfmr.wte.weight"}),
}
"""Names in upstream's file that the network does not have: upstream deletes Turbo's `wte` after loading it."""

UNUSED_SHAPES: Final = {NetworkSize.FULL: (50_276, 1024), NetworkSize.TINY: (50_276, 64)}
"""Shape of Turbo's `tfmr.wte.weight`: its text vocabulary and its width."""

_TINY_LLAMA: Final = {
    ChatterboxModel.ENGLISH: "greenroom_tiny_english",
    ChatterboxModel.MULTILINGUAL: "greenroom_tiny_multilingual",
}
_TINY_GPT2: Final = "greenroom_tiny_turbo"

_TINY_WIDTHS: Final[dict[str, dict[str, Any]]] = {
    _TINY_LLAMA[ChatterboxModel.ENGLISH]: {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 16,
    },
    _TINY_LLAMA[ChatterboxModel.MULTILINGUAL]: {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 14,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 4,
    },
    _TINY_GPT2: {"n_embd": 64, "hidden_size": 64, "n_head": 4, "n_layer": 3},
}
"""What differs from upstream's own numbers."""

_FULL_NAMES: Final = {_TINY_GPT2: "GPT2_medium"} | dict.fromkeys(_TINY_LLAMA.values(), "Llama_520M")


def build_t3(model: ChatterboxModel, size: NetworkSize) -> torch.nn.Module:
    """Return upstream's `T3` with weights on the meta device, in evaluation mode; `hp` holds its numbers."""
    hyper_parameters = t3_hyper_parameters(model, size)
    network = upstream("models.t3")
    with quiet(), torch.device("meta"):
        t3 = network.T3(hyper_parameters)
        if t3.cond_enc.perceiver is not None:
            t3.cond_enc.perceiver = _perceiver(t3.dim)
    if t3.is_gpt:
        del t3.tfmr.wte
    else:
        t3.tfmr.rotary_emb = type(t3.tfmr.rotary_emb)(config=t3.cfg)
    frozen: torch.nn.Module = t3.eval().requires_grad_(requires_grad=False)
    return frozen


def t3_hyper_parameters(model: ChatterboxModel, size: NetworkSize) -> Any:
    """Return upstream's `T3Config` of a model, with the numbers that upstream's loader of that model sets."""
    config = upstream("models.t3.modules.t3_config").T3Config
    match model:
        case ChatterboxModel.ENGLISH:
            hyper_parameters = config.english_only()
        case ChatterboxModel.MULTILINGUAL:
            hyper_parameters = config.multilingual()
        case ChatterboxModel.TURBO:
            hyper_parameters = _turbo(config)
    if size is NetworkSize.TINY:
        name = _TINY_LLAMA.get(model, _TINY_GPT2)
        numbers = upstream("models.t3.llama_configs").LLAMA_CONFIGS
        numbers.setdefault(name, numbers[_FULL_NAMES[name]] | _TINY_WIDTHS[name])
        hyper_parameters.llama_config_name = name
    return hyper_parameters


def _turbo(config: Any) -> Any:
    """Return Turbo's numbers, which upstream writes into `ChatterboxTurboTTS.from_local`."""
    hyper_parameters = config(text_tokens_dict_size=50_276)
    hyper_parameters.llama_config_name = "GPT2_medium"
    hyper_parameters.speech_tokens_dict_size = 6_563
    hyper_parameters.input_pos_emb = None
    hyper_parameters.speech_cond_prompt_len = 375
    hyper_parameters.use_perceiver_resampler = False
    hyper_parameters.emotion_adv = False
    return hyper_parameters


def _perceiver(channels: int) -> torch.nn.Module:
    """Return the resampler of the voice's prompt at this width; upstream's constructor has 1024 written into it.

    Upstream's attention, which has no weights, is replaced: its fused path sets torch's choice of kernels for all
    threads in every call and warns that it will go, and its plain path mixes up two lengths and fails.
    """
    made = upstream("models.t3.modules.perceiver")
    perceiver = made.Perceiver(pre_attention_query_size=channels, embedding_dim=channels)
    perceiver.attn.attention = _PerceiverAttention(perceiver.attn.num_heads)
    replaced: torch.nn.Module = perceiver
    return replaced


class _PerceiverAttention(torch.nn.Module):
    """Attention of queries (rows, queries, channels) on keys and values (rows, positions, channels)."""

    def __init__(self, head_count: int) -> None:
        super().__init__()
        self.head_count = head_count

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        attended = functional.scaled_dot_product_attention(
            self._heads(queries), self._heads(keys), self._heads(values), attn_mask=mask
        )
        return attended.transpose(1, 2).flatten(2)

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.view(*projected.shape[:2], self.head_count, -1).transpose(1, 2)
