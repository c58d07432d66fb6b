"""T3's two backbones as networks: a Llama (English, Multilingual) and a GPT-2 (Turbo), with upstream's names.

Upstream takes both from transformers, which takes 7 s to import, most of it for SymPy, torch's compiler and
scikit-learn. Nothing of its models is used but weights and the parts between them: `speech/token_backbone.py` and
`speech/captured` run them. So the parts are here. Given the same weights, each returns the same bits as transformers'.

Shapes: hidden (rows, positions, channels).
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from torch import nn
from torch.nn import functional

_CUBIC: Final = 0.044715
"""Of gelu's approximation by tanh, as GPT-2 has it (Hendrycks and Gimpel 2016)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneNumbers:
    """A backbone's numbers, by transformers' names; `rope` is None for GPT-2, which has places instead of rotations."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    epsilon: float
    positions: int
    rope: "RopeNumbers | None" = None

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def of_llama(cls, numbers: dict[str, Any]) -> Self:
        """Return those of one of upstream's `LLAMA_CONFIGS`."""
        assert numbers["num_key_value_heads"] == numbers["num_attention_heads"]
        assert numbers["head_dim"] * numbers["num_attention_heads"] == numbers["hidden_size"]
        assert (numbers["hidden_act"], numbers["attention_bias"], numbers["mlp_bias"]) == ("silu", False, False)
        scaling = numbers["rope_scaling"]
        assert scaling["rope_type"] == "llama3"
        return cls(
            vocab_size=numbers["vocab_size"],
            hidden_size=numbers["hidden_size"],
            intermediate_size=numbers["intermediate_size"],
            num_hidden_layers=numbers["num_hidden_layers"],
            num_attention_heads=numbers["num_attention_heads"],
            epsilon=numbers["rms_norm_eps"],
            positions=numbers["max_position_embeddings"],
            rope=RopeNumbers(
                base=numbers["rope_theta"],
                factor=scaling["factor"],
                low=scaling["low_freq_factor"],
                high=scaling["high_freq_factor"],
                trained_positions=scaling["original_max_position_embeddings"],
            ),
        )

    @classmethod
    def of_gpt2(cls, numbers: dict[str, Any]) -> Self:
        """Return those of one of upstream's `LLAMA_CONFIGS` whose `model_type` is gpt2."""
        assert numbers["activation_function"] == "gelu_new"
        return cls(
            vocab_size=numbers["vocab_size"],
            hidden_size=numbers["n_embd"],
            intermediate_size=4 * numbers["n_embd"],
            num_hidden_layers=numbers["n_layer"],
            num_attention_heads=numbers["n_head"],
            epsilon=numbers["layer_norm_epsilon"],
            positions=numbers["n_positions"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeNumbers:
    """Llama 3's rotations: slow ones, of more than `trained_positions / low` positions a turn, are slowed by `factor`.

    Those of less than `trained_positions / high` stay; in between it is a mixture.
    """

    base: float
    factor: float
    low: float
    high: float
    trained_positions: int

    def frequencies(self, head_channels: int) -> torch.Tensor:
        """Return the angle that each pair of a head's channels turns by from position to position (pairs,)."""
        places = torch.arange(0, head_channels, 2, dtype=torch.int64, device="cpu").float()
        plain = 1.0 / (self.base ** (places / head_channels))
        turn = 2 * math.pi / plain
        slowed = torch.where(turn > self.trained_positions / self.low, plain / self.factor, plain)
        kept = (self.trained_positions / turn - self.low) / (self.high - self.low)
        mixed = (1 - kept) * slowed / self.factor + kept * slowed
        between = (turn >= self.trained_positions / self.high) & (turn <= self.trained_positions / self.low)
        return torch.where(between, mixed, slowed)


class RootMeanSquareNorm(nn.Module):
    """Llama's norm: channels over the root of their mean square, in float32, times a weight."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.variance_epsilon = epsilon

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the normed channels, in their own type."""
        wide = hidden.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * scaled.to(hidden.dtype)


class Rotations(nn.Module):
    """Cosines and sines of positions; `inv_freq` is computed, and in no file."""

    inv_freq: torch.Tensor

    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        assert numbers.rope is not None
        self.register_buffer("inv_freq", numbers.rope.frequencies(numbers.head_dim), persistent=False)

    def forward(self, hidden: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both (rows, positions, head channels), in the type of `hidden`, of positions (rows, positions)."""
        half = positions[..., None].float() * self.inv_freq.float()
        angles = torch.cat([half, half], dim=-1)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)


class LlamaBackbone(nn.Module):
    """Layers, the last norm, and an embedding that the file has and nobody uses."""

    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(numbers.vocab_size, numbers.hidden_size)
        self.layers = nn.ModuleList(_LlamaLayer(numbers) for _ in range(numbers.num_hidden_layers))
        self.norm = RootMeanSquareNorm(numbers.hidden_size, numbers.epsilon)
        self.rotary_emb = Rotations(numbers)


class _LlamaLayer(nn.Module):
    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        self.self_attn = _LlamaAttention(numbers)
        self.mlp = _GatedFeed(numbers)
        self.input_layernorm = RootMeanSquareNorm(numbers.hidden_size, numbers.epsilon)
        self.post_attention_layernorm = RootMeanSquareNorm(numbers.hidden_size, numbers.epsilon)


class _LlamaAttention(nn.Module):
    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        self.head_dim = numbers.head_dim
        channels = numbers.hidden_size
        self.q_proj = nn.Linear(channels, channels, bias=False)
        self.k_proj = nn.Linear(channels, channels, bias=False)
        self.v_proj = nn.Linear(channels, channels, bias=False)
        self.o_proj = nn.Linear(channels, channels, bias=False)


class _GatedFeed(nn.Module):
    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(numbers.hidden_size, numbers.intermediate_size, bias=False)
        self.up_proj = nn.Linear(numbers.hidden_size, numbers.intermediate_size, bias=False)
        self.down_proj = nn.Linear(numbers.intermediate_size, numbers.hidden_size, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        gated = functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden)
        return torch.as_tensor(self.down_proj(gated))


class Gpt2Backbone(nn.Module):
    """Places, layers and the last norm; upstream deletes the embedding of words after loading it."""

    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        self.wpe = nn.Embedding(numbers.positions, numbers.hidden_size)
        self.h = nn.ModuleList(_Gpt2Layer(numbers) for _ in range(numbers.num_hidden_layers))
        self.ln_f = nn.LayerNorm(numbers.hidden_size, eps=numbers.epsilon)


class _Gpt2Layer(nn.Module):
    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(numbers.hidden_size, eps=numbers.epsilon)
        self.attn = _Gpt2Attention(numbers)
        self.ln_2 = nn.LayerNorm(numbers.hidden_size, eps=numbers.epsilon)
        self.mlp = _Feed(numbers)


class _Gpt2Attention(nn.Module):
    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        self.head_dim = numbers.head_dim
        self.c_attn = Turned(numbers.hidden_size, 3 * numbers.hidden_size)
        self.c_proj = Turned(numbers.hidden_size, numbers.hidden_size)


class _Feed(nn.Module):
    def __init__(self, numbers: BackboneNumbers) -> None:
        super().__init__()
        self.c_fc = Turned(numbers.hidden_size, numbers.intermediate_size)
        self.c_proj = Turned(numbers.intermediate_size, numbers.hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        inner = self.c_fc(hidden)
        slope = torch.tanh(math.sqrt(2.0 / math.pi) * (inner + _CUBIC * torch.pow(inner, 3.0)))
        return torch.as_tensor(self.c_proj(0.5 * inner * (1.0 + slope)))


class Turned(nn.Module):
    """A linear map whose weight is (in, out), as GPT-2's files have it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what the map makes of each position."""
        flat = torch.addmm(self.bias, hidden.view(-1, hidden.shape[-1]), self.weight)
        return flat.view(*hidden.shape[:-1], -1)
