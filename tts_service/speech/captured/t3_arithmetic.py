"""What a pass through T3 is made of, and the pass itself: written once for tokens and prompts, CPUs and GPUs.

A pass is a number of lines, (lines, channels): one for each row at a step, one for each row's position at a prompt. The
sum that goes through all layers is float32 whatever the weights are; so are norms, softmax and logits.
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from tts_service.speech.captured.t3_state import Batch, Number
from tts_service.speech.captured.t3_weights import Layer, Linear, Norm, T3Weights


@dataclass(slots=True, kw_only=True)
class Hidden:
    """A pass's lines, from one part of the work to the next.

    `sum` (lines, channels) is float32; `pending` is still to be added to it, by the next norm.
    """

    sum: torch.Tensor
    pending: torch.Tensor | None = None
    rotation: torch.Tensor | None = None
    """Cosines, then sines, of each line's position (lines, 2, half a head), float32, for backbones that rotate."""
    shares: tuple[torch.Tensor, torch.Tensor] | None = None
    """Peaks and totals (rows, heads, shares) of what was just seen, if it is in shares still to be joined."""

    def whole(self) -> torch.Tensor:
        """Return the sum with nothing pending."""
        return self.sum if self.pending is None else self.sum + self.pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the watched heads ask: queries (heads, lines, head channels), one line for each slot.

    They are turned by `rotation` (lines, 2, half a head), or have been where there is none.
    """

    queries: torch.Tensor
    rotation: torch.Tensor | None


class T3Arithmetic(Protocol):
    """One way to compute. Products' results are in the weights' dtype, or in float32."""

    def tokens(self, weights: T3Weights, batch: Batch) -> Hidden:
        """Return the rows' last tokens' embeddings, as the first layer takes them."""
        ...

    def prompt(self, weights: T3Weights, embeddings: torch.Tensor) -> Hidden:
        """Return a prompt (rows, positions, channels) as the first layer takes it, position after position."""
        ...

    def project(self, hidden: Hidden, norm: Norm, product: Linear) -> torch.Tensor:
        """Return a product of the normed lines (lines, out)."""
        ...

    def attend(self, projected: torch.Tensor, layer: int, hidden: Hidden, batch: Batch) -> torch.Tensor:
        """Write each row's key and value after those in its pages; return what its query sees (rows, channels).

        Only `add` need know in what form. Rows without a page write nothing.
        """
        ...

    def attend_prompt(self, projected: torch.Tensor, layer: int, hidden: Hidden, batch: Batch) -> torch.Tensor:
        """Do so for all positions of the rows' prompts (lines, channels), each of which sees those before it.

        Positions beyond a slot's are not written.
        """
        ...

    def add(self, hidden: Hidden, attended: torch.Tensor, product: Linear) -> None:
        """Add a product of what was seen to the sum."""
        ...

    def feed(self, hidden: Hidden, layer: Layer) -> torch.Tensor:
        """Return the activated inner channels (lines, inner) of the normed lines."""
        ...

    def feed_back(self, hidden: Hidden, inner: torch.Tensor, product: Linear) -> None:
        """Add a product of the inner channels to the sum."""
        ...

    def logits(self, hidden: Hidden, norm: Norm, head: Linear, out: torch.Tensor) -> None:
        """Write the normed lines' logits (lines, vocabulary), float32."""
        ...


def step_logits(arithmetic: T3Arithmetic, weights: T3Weights, batch: Batch, out: torch.Tensor) -> Watched | None:
    """Read each row's last token; write the logits (rows, vocabulary) of its next one.

    Return what the watched heads of rows with text ask, if any are watched.
    """
    hidden = arithmetic.tokens(weights, batch)
    slots, queries = len(batch.partners), []
    for number, layer in enumerate(weights.layers):
        projected = arithmetic.project(hidden, layer.attention_norm, layer.projections)
        attended = arithmetic.attend(projected, number, hidden, batch)
        queries += _queries(weights, number, projected[:slots])
        arithmetic.add(hidden, attended, layer.output)
        arithmetic.feed_back(hidden, arithmetic.feed(hidden, layer), layer.back)
    arithmetic.logits(hidden, weights.final_norm, weights.head, out)
    return _watched(queries, None if hidden.rotation is None else hidden.rotation[:slots])


def prompt_logits(
    arithmetic: T3Arithmetic, weights: T3Weights, batch: Batch, embeddings: torch.Tensor, out: torch.Tensor
) -> Watched | None:
    """Read a prompt (rows, positions, channels) of one slot, of which what is beyond its position is padding.

    Write the logits (rows, vocabulary) of its first token. Position by position, padding changes nothing before it.
    Return what the watched heads of the row with text ask at the last position.
    """
    rows, count, _ = embeddings.shape
    hidden, queries = arithmetic.prompt(weights, embeddings), []
    last = batch.state.numbers[batch.slots.long(), Number.POSITION]
    # What stands in nobody's slot, or was away, is no place: never let the device find out.
    places = last.clamp(0, count - 1) + torch.arange(0, rows * count, count, device=last.device)
    for number, layer in enumerate(weights.layers):
        projected = arithmetic.project(hidden, layer.attention_norm, layer.projections)
        attended = arithmetic.attend_prompt(projected, number, hidden, batch)
        queries += _queries(weights, number, projected, places[:1])
        arithmetic.add(hidden, attended, layer.output)
        arithmetic.feed_back(hidden, arithmetic.feed(hidden, layer), layer.back)
    ends = Hidden(sum=hidden.whole().index_select(0, places))
    arithmetic.logits(ends, weights.final_norm, weights.head, out)
    return _watched(queries, None if hidden.rotation is None else hidden.rotation.index_select(0, places[:1]))


def _queries(
    weights: T3Weights, layer: int, projected: torch.Tensor, lines: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Return the queries (lines, head channels) of a layer's watched heads: of all lines, or of these."""
    channels = weights.head_channels
    found = [projected[:, head * channels : (head + 1) * channels] for at, head in weights.watched if at == layer]
    return found if lines is None else [each.index_select(0, lines) for each in found]


def _watched(queries: list[torch.Tensor], rotation: torch.Tensor | None) -> Watched | None:
    return Watched(queries=torch.stack(queries), rotation=rotation) if queries else None
