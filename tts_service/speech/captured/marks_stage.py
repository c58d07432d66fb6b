"""The watermark's encoder on a GPU: one replay for up to eight blocks of an utterance.

Rules
* There is one graph. A batch always has BATCH_WINDOWS rows, of which some may be empty, and a row always has room for
  the longest window: a product of another shape might add in another order, and then the bits of a block would depend
  on how many were marked with it.
* One call at a time: what goes in and comes out stands in the stage's buffers until it is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from tts_service.speech.captured.graphs import Graphs, Work
from tts_service.speech.captured.marks_windows import WINDOW_SAMPLES, cosines, marked_windows
from tts_service.speech.captured.posting import post
from tts_service.speech.watermark import BLOCK_SAMPLES

BATCH_WINDOWS: Final = 8
"""1.28 s of audio, more than most chunks bring."""

SPAN_SAMPLES: Final = WINDOW_SAMPLES + (BATCH_WINDOWS - 1) * BLOCK_SAMPLES
"""What consecutive windows cover together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkWindow:
    """A block's window in a span of audio: where it begins, its samples, and where the block begins in it."""

    start: int
    sample_count: int
    block_offset: int


class CapturedEncoder:
    """`watermark.encoder`, captured."""

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self.device = graphs.device
        self._cosine = graphs.constant(cosines())
        self._span = graphs.buffer(SPAN_SAMPLES, dtype=torch.float32)
        self._places = graphs.buffer(3, BATCH_WINDOWS, dtype=torch.int64)
        self._blocks = graphs.buffer(BATCH_WINDOWS, BLOCK_SAMPLES, dtype=torch.float32)
        self._replay: Work | None = None
        self._address = 0

    def capture(self, encoder: Any) -> None:
        """Capture the graph over a leased `PerthEncoder`; again, when its weights have gone to another address.

        Not while anything is served.
        """
        self._show(torch.zeros(1), [])
        self._replay = self._graphs.capture("watermark", lambda: self._work(encoder))
        self._address = _address(encoder)

    def captures(self, encoder: Any) -> bool:
        """Tell whether this encoder is the captured one, with its weights where they were."""
        return self._address == _address(encoder)

    def mark(self, encoder: Any, span: torch.Tensor, windows: Sequence[MarkWindow]) -> torch.Tensor:
        """Return the marked blocks (windows, 3840) of up to eight windows in a span of audio (samples,).

        What a block has beyond its window's end is anything. The same bits without the graph, for an encoder that is
        not the captured one. Everything is queued on the current stream.
        """
        assert 0 < len(windows) <= BATCH_WINDOWS
        assert all(window.start + window.sample_count <= len(span) for window in windows)
        with torch.inference_mode():
            self._show(span, windows)
            if self._replay is not None and self.captures(encoder):
                self._replay()
            else:
                self._work(encoder)
            return self._blocks[: len(windows)].clone()

    def _show(self, span: torch.Tensor, windows: Sequence[MarkWindow]) -> None:
        self._span[: len(span)].copy_(span)
        empty = MarkWindow(start=0, sample_count=0, block_offset=0)
        rows = [*windows, *[empty] * (BATCH_WINDOWS - len(windows))]
        places = torch.tensor([[row.start, row.sample_count, row.block_offset] for row in rows], dtype=torch.int64).T
        post(places.contiguous(), self._places)

    def _work(self, encoder: Any) -> None:
        """Cut windows out of the span, mark them, and cut the blocks out of these."""
        # Every place that is computed from a number is kept in bounds: a fault on the device would end the process.
        start, shown, offset = self._places.unbind()
        samples = shown.clamp(0, WINDOW_SAMPLES)
        place = torch.arange(WINDOW_SAMPLES, device=start.device)
        seen = self._span[(start[:, None] + place).clamp(0, SPAN_SAMPLES - 1)]
        audio = torch.where(place < samples[:, None], seen, 0.0)
        marked = marked_windows(encoder, self._cosine, audio, samples)
        block = offset[:, None] + torch.arange(BLOCK_SAMPLES, device=start.device)
        self._blocks.copy_(marked.gather(1, block.clamp(0, WINDOW_SAMPLES - 1)))

    def __repr__(self) -> str:
        return f"<CapturedEncoder {'not captured' if self._replay is None else 'captured'} on {self.device}>"


def _address(encoder: Any) -> int:
    """Return where an encoder's weights begin."""
    return int(next(encoder.parameters()).data_ptr())
