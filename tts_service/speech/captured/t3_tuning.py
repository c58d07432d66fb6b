"""How T3's kernels share out their work: what was found to be fast, and what a device can do."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What is fast on an H100.

    Attention: `shares` of the positions of a row's head, of which `positions` are looked at at once, by so many warps;
    `joins_apart`: a launch of its own joins the shares, or else the product that follows. Products of ours: outputs in
    one program, and its warps, where inputs are few (a model's width) and where they are many.
    """

    shares: int = 4
    positions: int = 64
    attention_warps: int = 4
    joins_apart: int = True
    few_outputs: int = 8
    few_warps: int = 4
    many_outputs: int = 4
    many_warps: int = 8
    early: int = False
    """Kernels between products of ours start before the one ahead has ended: where `chains` says that they can."""

    @classmethod
    def of(cls, rows: int, **changed: int) -> "Tuning":
        """Return what is right for so many rows: the more there are, the less need their positions be shared out."""
        return replace(cls(shares=max(1, 16 // rows)), **changed)


def chains(device: torch.device) -> bool:
    """Say whether a device lets a kernel start before the one ahead has ended: compute capability 9.0 and above."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)
