"""Builds T3, the network from text to speech tokens: a Llama for English and Multilingual, a GPT-2 for Turbo.

Rules
* T3 is one module (`t3`), built without memory for its weights (on torch's meta device). A loader gives them theirs, by
  upstream's names. What is computed and not loaded (the rotary frequencies) is there from the start, on the CPU.
* TINY has upstream's structure, vocabularies, positions and prompt lengths with narrow layers, and few of them.
  Multilingual keeps sixteen heads and fourteen layers, because the heads that follow the text are in layers 9, 12, 13.
* Upstream looks its backbone's numbers up in a dictionary of its own; the tiny ones stand there under names of ours,
  which nothing of upstream's uses.
* `T3` is ours, with upstream's names, parts and results (its own would import transformers: see `t3_backbones`); the
  conditioning and the places are upstream's modules.
"""

from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.t3_backbones import BackboneNumbers, Gpt2Backbone, LlamaBackbone
from tts_service.models.chatterbox.upstream import upstream, without_weights
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


class T3Module(nn.Module):
    """From text to speech tokens: embeddings, a backbone that others run, and heads. `hp` are upstream's numbers.

    Rows are sequences; with guidance, the second of two does not see the text.
    """

    def __init__(self, hp: Any) -> None:
        super().__init__()
        self.hp = hp
        numbers = upstream("models.t3.llama_configs").LLAMA_CONFIGS[hp.llama_config_name]
        self.is_gpt = numbers.get("model_type") == "gpt2"
        self.cfg = (BackboneNumbers.of_gpt2 if self.is_gpt else BackboneNumbers.of_llama)(numbers)
        self.tfmr = Gpt2Backbone(self.cfg) if self.is_gpt else LlamaBackbone(self.cfg)
        self.dim = self.cfg.hidden_size
        self.cond_enc = upstream("models.t3.modules.cond_enc").T3CondEnc(hp)
        self.text_emb = nn.Embedding(hp.text_tokens_dict_size, self.dim)
        self.speech_emb = nn.Embedding(hp.speech_tokens_dict_size, self.dim)
        has_places = hp.input_pos_emb == "learned"
        self.text_pos_emb = _places(hp.max_text_tokens + 2, self.dim) if has_places else None
        self.speech_pos_emb = _places(hp.max_speech_tokens + 4, self.dim) if has_places else None
        self.text_head = nn.Linear(self.dim, hp.text_tokens_dict_size, bias=False)
        self.speech_head = nn.Linear(self.dim, hp.speech_tokens_dict_size, bias=self.is_gpt)

    def prepare_conditioning(self, t3_cond: Any) -> torch.Tensor:
        """Return the voice's embeddings (1, positions, channels); its prompt's are kept in `t3_cond`."""
        prompt = t3_cond.cond_prompt_speech_tokens
        if prompt is not None and t3_cond.cond_prompt_speech_emb is None:
            t3_cond.cond_prompt_speech_emb = _placed(self.speech_emb(prompt), prompt, self.speech_pos_emb)
        conditioning: torch.Tensor = self.cond_enc(t3_cond)
        return conditioning

    def prepare_input_embeds(
        self, *, t3_cond: Any, text_tokens: torch.Tensor, speech_tokens: torch.Tensor, cfg_weight: float
    ) -> tuple[torch.Tensor, int]:
        """Return the embeddings (rows, positions, channels) of voice, text and speech, and how many are the voice's."""
        voice = self.prepare_conditioning(t3_cond)
        text = self.text_emb(text_tokens)
        if cfg_weight > 0 and not self.is_gpt:
            text[1].zero_()
        text = _placed(text, text_tokens, self.text_pos_emb)
        speech = _placed(self.speech_emb(speech_tokens), speech_tokens, self.speech_pos_emb)
        return torch.cat([voice.expand(len(text), -1, -1), text, speech], dim=1), voice.shape[1]


def build_t3(model: ChatterboxModel, size: NetworkSize) -> T3Module:
    """Return T3 with weights on the meta device, in evaluation mode; `hp` and `cfg` hold its numbers."""
    hyper_parameters = t3_hyper_parameters(model, size)
    with without_weights():
        t3 = T3Module(hyper_parameters)
        if t3.cond_enc.perceiver is not None:
            t3.cond_enc.perceiver = _perceiver(t3.dim)
    t3.eval().requires_grad_(requires_grad=False)
    return t3


def _places(count: int, channels: int) -> Any:
    return upstream("models.t3.modules.learned_pos_emb").LearnedPositionEmbeddings(count, channels)


def _placed(embedded: torch.Tensor, tokens: torch.Tensor, places: Any) -> torch.Tensor:
    """Add its place to each token's embedding, where the model has places."""
    return embedded if places is None else embedded + places(tokens)


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
