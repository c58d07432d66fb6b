"""Random weights that keep signals at about their size, each a function of seed, file, name and shape alone.

So that a folder can be made tensor by tensor, in any order, and the same seed gives the same bytes.
"""

import hashlib
import math
from typing import Final

import torch

BIAS_DEVIATION: Final = 0.05

_FIXED: Final = {"similarity_weight": 10.0, "similarity_bias": -5.0}
"""The voice encoder's two scales, upstream's initial values; nothing uses them."""

_ONES: Final = (".alpha", "running_var")
_ZEROS: Final = ("running_mean",)
_EMBEDDINGS: Final = ("emb.weight", "embedding.weight", "wpe.weight", "wte.weight", "embed_tokens.weight", "query")
_INPUTS_FIRST: Final = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
"""GPT-2 keeps these as (inputs, outputs)."""


def generator(seed: int, *names: str) -> torch.Generator:
    """Return the random numbers that belong to a seed and these names."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def synthetic_state(network: torch.nn.Module, *, seed: int, scope: str) -> dict[str, torch.Tensor]:
    """Return all weights of a network; computed ones keep their values. `scope` is its module's name."""
    state = {name: synthetic_value(name, value, seed=seed, scope=scope) for name, value in network.state_dict().items()}
    for name, value in state.items():
        if name.endswith("original0"):  # A normalised weight's length, such that normalising changes nothing.
            value.copy_(state[f"{name[:-1]}1"].flatten(1).norm(dim=1).reshape(value.shape))
    return state


def synthetic_value(name: str, like: torch.Tensor, *, seed: int, scope: str) -> torch.Tensor:
    """Return one weight of the type and shape of `like`, which may be on the meta device."""
    if not like.is_meta:
        return like.clone()
    if not like.dtype.is_floating_point:
        return torch.zeros(like.shape, dtype=like.dtype)
    constant = _constant(name, like)
    if constant is not None:
        return torch.full(like.shape, constant)
    if name.endswith("time_embed_mixer.weight"):
        return torch.eye(*like.shape)  # Upstream's own start: the first time counts, the second is to be learned.
    noise = torch.randn(like.shape, generator=generator(seed, scope, name))
    return noise.mul_(_deviation(name, like))


def _constant(name: str, like: torch.Tensor) -> float | None:
    if name in _FIXED:
        return _FIXED[name]
    if name.endswith(_ONES) or (like.ndim == 1 and name.endswith("weight")):
        return 1.0
    return 0.0 if name.endswith(_ZEROS) else None


def _deviation(name: str, like: torch.Tensor) -> float:
    if like.ndim == 1:
        return BIAS_DEVIATION
    if name.endswith(_EMBEDDINGS):
        return 1.0
    inputs = like.shape[0] if name.endswith(_INPUTS_FIRST) else math.prod(like.shape[1:])
    return 1 / math.sqrt(inputs)
