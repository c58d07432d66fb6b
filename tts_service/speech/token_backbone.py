"""One pass of new positions through T3's backbone: our own forward over upstream's weights, for Llama and GPT-2.

Given the same embeddings, the result is what upstream gets from transformers' models. Those keep a cache of their own,
compute attention without fused kernels for all layers as soon as anybody asks to see it, and are watched through hooks
that stay. Here the heads that somebody watches are computed again from what is at hand: one row for each.
"""

from collections.abc import Collection
from typing import Any, Protocol

import torch
from torch.nn import functional

from tts_service.speech.token_cache import KeyValueCache

Head = tuple[int, int]
"""A layer's number and a head's in it."""


class T3Network(Protocol):
    """`t3` under a lease; upstream's `T3`, of which only these parts are used."""

    hp: Any
    is_gpt: bool
    tfmr: Any
    text_emb: Any
    text_pos_emb: Any
    speech_emb: Any
    speech_pos_emb: Any
    speech_head: Any

    def prepare_input_embeds(
        self, *, t3_cond: Any, text_tokens: torch.Tensor, speech_tokens: torch.Tensor, cfg_weight: float
    ) -> tuple[torch.Tensor, int]:
        """Return the embeddings (rows, positions, channels) before the first token, and how many are the voice's."""
        ...

    def prepare_conditioning(self, t3_cond: Any) -> torch.Tensor:
        """Return the voice's embeddings (1, positions, channels)."""
        ...


def run_backbone(
    t3: T3Network, embeddings: torch.Tensor, cache: KeyValueCache, watched: Collection[Head] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run new positions (rows, new positions, channels) after those in the cache, which then has them too.

    More than one at a time only into an empty cache. Return the last position's hidden state (rows, channels) and the
    watched heads' attention of its first row (heads, all positions), in the order of layers.
    """
    assert cache.positions == 0 or embeddings.shape[1] == 1
    forward = _gpt2 if t3.is_gpt else _llama
    hidden, attentions = forward(t3.tfmr, embeddings, cache, watched)
    cache.advance(embeddings.shape[1])
    return hidden, torch.stack(attentions) if attentions else embeddings.new_zeros(0, cache.positions)


def _llama(
    backbone: Any, hidden: torch.Tensor, cache: KeyValueCache, watched: Collection[Head]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    rows, count, _ = hidden.shape
    rotation = backbone.rotary_emb(hidden, _positions(cache, hidden)[None])
    attentions: list[torch.Tensor] = []
    for number, layer in enumerate(backbone.layers):
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        queries, keys, values = (_heads(project(normed), attention.head_dim) for project in projections)
        queries, keys = _rotated(queries, rotation), _rotated(keys, rotation)
        keys, values = cache.extended(number, keys, values)
        attentions += [_attention(queries, keys, head) for layer_number, head in watched if layer_number == number]
        attended = functional.scaled_dot_product_attention(queries, keys, values, is_causal=count > 1)
        hidden = hidden + attention.o_proj(attended.transpose(1, 2).reshape(rows, count, -1))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    normed_last: torch.Tensor = backbone.norm(hidden[:, -1])
    return normed_last, attentions


def _gpt2(
    backbone: Any, hidden: torch.Tensor, cache: KeyValueCache, watched: Collection[Head]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    assert not watched, "no head of Turbo's is known to follow the text"
    rows, count, _ = hidden.shape
    hidden = hidden + backbone.wpe(_positions(cache, hidden))
    for number, layer in enumerate(backbone.h):
        projected = layer.attn.c_attn(layer.ln_1(hidden)).chunk(3, dim=-1)
        queries, keys, values = (_heads(each, layer.attn.head_dim) for each in projected)
        keys, values = cache.extended(number, keys, values)
        attended = functional.scaled_dot_product_attention(queries, keys, values, is_causal=count > 1)
        hidden = hidden + layer.attn.c_proj(attended.transpose(1, 2).reshape(rows, count, -1))
        hidden = hidden + layer.mlp(layer.ln_2(hidden))
    normed_last: torch.Tensor = backbone.ln_f(hidden[:, -1])
    return normed_last, []


def _positions(cache: KeyValueCache, hidden: torch.Tensor) -> torch.Tensor:
    return torch.arange(cache.positions, cache.positions + hidden.shape[1], device=hidden.device)


def _heads(projected: torch.Tensor, head_channels: int) -> torch.Tensor:
    """Return (rows, heads, positions, head channels) of (rows, positions, channels)."""
    return projected.view(*projected.shape[:2], -1, head_channels).transpose(1, 2)


def _rotated(heads: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Turn each pair of channels, half a head apart, by its position's angle (rotary position embedding)."""
    cosine, sine = (each[:, None] for each in rotation)
    first, second = heads.chunk(2, dim=-1)
    return heads * cosine + torch.cat([-second, first], dim=-1) * sine


def _attention(queries: torch.Tensor, keys: torch.Tensor, head: int) -> torch.Tensor:
    """Return how one head of the first row spreads the last query's attention (positions,), in float32."""
    query = queries[0, head, -1].float()
    return torch.softmax(keys[0, head].float() @ query * query.shape[0] ** -0.5, dim=-1)
