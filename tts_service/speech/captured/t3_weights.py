"""What one pass through T3 reads of the leased module: its own parameters, named by what they do, and never copied.

Llama (English, Multilingual) and GPT-2 (Turbo) differ here and nowhere after: in norms, biases, rotary positions, and
in whether what feeds forward is gated.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch

from tts_service.models.chatterbox.running_form import MemoryOrder, RunningForm, adjacent
from tts_service.speech.token_backbone import Head
from tts_service.types import Precision

INPUTS_LAST: Final[MemoryOrder] = (1, 0)
"""A matrix (in, out) as (out, in)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A norm over channels: with a bias it takes the mean away (LayerNorm), without one it does not (RMSNorm)."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A matrix product. `weights` are views (out, in), to be read as one above the other; one, where they lie so."""

    weights: tuple[torch.Tensor, ...]
    bias: torch.Tensor | None = None

    @property
    def whole(self) -> torch.Tensor | None:
        """The one matrix (out, in), or None if its parts lie apart."""
        return self.weights[0] if len(self.weights) == 1 else None

    @property
    def outputs(self) -> int:
        """How many channels come out."""
        return sum(each.shape[0] for each in self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer. `inner` gives the gates above the values where `gated`, and what gelu takes where not."""

    attention_norm: Norm
    projections: Linear
    output: Linear
    feed_norm: Norm
    inner: Linear
    gated: bool
    back: Linear


@dataclass(frozen=True, slots=True, kw_only=True)
class T3Weights:
    """The whole backbone with the speech's embeddings and head.

    `places` (places, channels) is added to a token's embedding: by its step of the speech, or, if `places_by_position`,
    by its position among all that was read. `frequencies` (half a head,) are the rotary ones; None: no rotation.
    """

    layers: tuple[Layer, ...]
    final_norm: Norm
    head: Linear
    speech: torch.Tensor
    places: torch.Tensor
    places_by_position: bool
    frequencies: torch.Tensor | None
    heads: int
    start_token: int
    stop_token: int
    watched: tuple[Head, ...] = ()
    """Heads that follow the text, in the order of layers."""

    @property
    def channels(self) -> int:
        """Width of the backbone."""
        return self.speech.shape[1]

    @property
    def head_channels(self) -> int:
        """Width of a head."""
        return self.channels // self.heads

    @property
    def vocabulary(self) -> int:
        """How many speech tokens there are."""
        return self.head.outputs

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored in, and products are made of."""
        return self.speech.dtype


def t3_form(precision: Precision) -> RunningForm:
    """Return the form in which captured T3 runs best; it runs in any."""
    return RunningForm(precision=precision, memory_order=t3_memory_order)


def t3_memory_order(name: str, shape: tuple[int, ...]) -> MemoryOrder | None:
    """Return how a parameter of T3 should lie in memory; None for the plain order.

    GPT-2's matrices (`tfmr.h.*`, transformers' `Conv1D`) are (in, out), and a program of ours reads all weights of a
    few outputs. They lie together, or half or more of each sector of memory is read for nothing.
    """
    return INPUTS_LAST if ".h." in name and len(shape) == len(INPUTS_LAST) else None


def first_address(t3: Any) -> int:
    """Return where the module's weights begin: what was captured over them is worth something only there."""
    address: int = next(t3.parameters()).data_ptr()
    return address


def weights_of(t3: Any, watched: tuple[Head, ...] = ()) -> T3Weights:
    """Return what is read of upstream's `T3`."""
    heads = t3.cfg.num_attention_heads
    backbone = t3.tfmr
    if t3.is_gpt:
        layers, final, places, frequencies = map(_gpt2_layer, backbone.h), backbone.ln_f, backbone.wpe.weight, None
    else:
        layers, final, places = map(_llama_layer, backbone.layers), backbone.norm, t3.speech_pos_emb.emb.weight
        frequencies = backbone.rotary_emb.inv_freq
    return T3Weights(
        layers=tuple(layers),
        final_norm=_norm(final),
        head=_joined(t3.speech_head),
        speech=t3.speech_emb.weight.detach(),
        places=places.detach(),
        places_by_position=t3.is_gpt,
        frequencies=frequencies,
        heads=heads,
        start_token=t3.hp.start_speech_token,
        stop_token=t3.hp.stop_speech_token,
        watched=watched,
    )


def _llama_layer(layer: Any) -> Layer:
    attention = layer.self_attn
    return Layer(
        attention_norm=_norm(layer.input_layernorm),
        projections=_joined(attention.q_proj, attention.k_proj, attention.v_proj),
        output=_joined(attention.o_proj),
        feed_norm=_norm(layer.post_attention_layernorm),
        inner=_joined(layer.mlp.gate_proj, layer.mlp.up_proj),
        gated=True,
        back=_joined(layer.mlp.down_proj),
    )


def _gpt2_layer(layer: Any) -> Layer:
    return Layer(
        attention_norm=_norm(layer.ln_1),
        projections=_turned(layer.attn.c_attn),
        output=_turned(layer.attn.c_proj),
        feed_norm=_norm(layer.ln_2),
        inner=_turned(layer.mlp.c_fc),
        gated=False,
        back=_turned(layer.mlp.c_proj),
    )


def _norm(norm: Any) -> Norm:
    bias = getattr(norm, "bias", None)
    epsilon = norm.eps if isinstance(norm, torch.nn.LayerNorm) else norm.variance_epsilon
    return Norm(weight=norm.weight.detach(), bias=None if bias is None else bias.detach(), epsilon=epsilon)


def _joined(*parts: Any) -> Linear:
    """Return products of the same input as one, if the weights are neighbours."""
    weights = [each.weight.detach() for each in parts]
    bias = parts[0].bias
    whole = adjacent(weights) if len(weights) > 1 else weights[0]
    return Linear(weights=tuple(weights) if whole is None else (whole,), bias=None if bias is None else bias.detach())


def _turned(convolution: Any) -> Linear:
    """Return transformers' `Conv1D`, whose weight is (in, out)."""
    return Linear(weights=(convolution.weight.detach().t(),), bias=convolution.bias.detach())
