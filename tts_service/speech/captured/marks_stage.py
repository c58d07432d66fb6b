"""The watermark's encoder on a GPU: one replay for up to eight blocks of an utterance, or for many of several.

Rules
* An utterance by itself has one graph. Its batch always has BATCH_WINDOWS rows, of which some may be empty, and a row
  always has room for the longest window: a product of another shape might add in another order, and then the bits of a
  block would depend on how many were marked with it.
* Blocks of several utterances share rows (`mark_all`), and a wider graph, if there is one: then equal to rounding.
* One call at a time: what goes in and comes out stands in the stage's buffers until it is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from tts_service.speech.captured.graphs import Graphs, Work
from tts_service.speech.captured.marks_windows import WINDOW_SAMPLES, cosines, marked_windows
from tts_service.speech.captured.posting import post
from tts_service.speech.watermark import BLOCK_SAMPLES

BATCH_WINDOWS: Final = 8
"""1.28 s of audio, more than most chunks bring."""

WIDE_WINDOWS: Final = 32
"""What four chunks of about a second, or two of two seconds, bring together."""

SPAN_SAMPLES: Final = WINDOW_SAMPLES + (BATCH_WINDOWS - 1) * BLOCK_SAMPLES
"""What consecutive windows cover together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkWindow:
    """A block's window in a span of audio: where it begins, its samples, and where the block is in it."""

    start: int
    sample_count: int
    block_offset: int
    block_samples: int = BLOCK_SAMPLES


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkSpan:
    """A span of an utterance's audio (samples,) with up to eight windows in it; `alone` shares no rows with others."""

    samples: torch.Tensor
    windows: tuple[MarkWindow, ...]
    alone: bool = False


class CapturedEncoder:
    """`watermark.encoder`, captured: for BATCH_WINDOWS rows, and for `wide` ones if these are more."""

    def __init__(self, graphs: Graphs, *, wide: int = BATCH_WINDOWS) -> None:
        assert wide >= BATCH_WINDOWS
        self._graphs = graphs
        self.device = graphs.device
        self._rows = sorted({BATCH_WINDOWS, wide})
        self._cosine = graphs.constant(cosines())
        self._span = graphs.buffer(wide * WINDOW_SAMPLES, dtype=torch.float32)
        self._places = graphs.buffer(3 * wide, dtype=torch.int64)
        self._blocks = graphs.buffer(wide, BLOCK_SAMPLES, dtype=torch.float32)
        self._replays: dict[int, Work] = {}
        self._address = 0

    def capture(self, encoder: Any) -> None:
        """Capture the graphs over a leased `PerthEncoder`; again, when its weights have gone to another address.

        Not while anything is served.
        """
        self._span.zero_()
        for rows in reversed(self._rows):
            self._show([], rows)
            self._replays[rows] = self._graphs.capture(f"watermark of {rows}", partial(self._work, encoder, rows))
        self._address = _address(encoder)

    def captures(self, encoder: Any) -> bool:
        """Tell whether this encoder is the captured one, with its weights where they were."""
        return self._address == _address(encoder)

    def mark(self, encoder: Any, span: torch.Tensor, windows: Sequence[MarkWindow]) -> torch.Tensor:
        """Return the marked blocks (windows, 3840) of up to eight windows in a span of audio (samples,).

        What a block has beyond its window's end is anything. The same bits without the graph, for an encoder that is
        not the captured one. Everything is queued on the current stream.
        """
        [blocks] = self.mark_all(encoder, [MarkSpan(samples=span, windows=tuple(windows), alone=True)])
        return blocks

    def mark_all(self, encoder: Any, spans: Sequence[MarkSpan]) -> list[torch.Tensor]:
        """Return what `mark` does of spans of several utterances, in their order, with as few replays as may be."""
        blocks = dict[int, torch.Tensor]()
        with torch.inference_mode():
            for numbers in self._batches(spans):
                together = [spans[number] for number in numbers]
                counts = [len(each.windows) for each in together]
                rows = next(each for each in self._rows if each >= sum(counts))
                self._show(together, rows)
                if rows in self._replays and self.captures(encoder):
                    self._replays[rows]()
                else:
                    self._work(encoder, rows)
                made = self._blocks[: sum(counts)].clone().split_with_sizes(counts)
                blocks |= dict(zip(numbers, made, strict=True))
        return [blocks[number] for number in range(len(spans))]

    def _batches(self, spans: Sequence[MarkSpan]) -> list[list[int]]:
        """Return which spans are marked together, by their numbers."""
        batches, last, room = list[list[int]](), list[int](), 0
        for number, span in enumerate(spans):
            assert 0 < len(span.windows) <= BATCH_WINDOWS
            if span.alone:
                batches.append([number])
                continue
            if len(span.windows) > room:
                last, room = [], self._rows[-1]
                batches.append(last)
            last.append(number)
            room -= len(span.windows)
        return batches

    def _show(self, spans: Sequence[MarkSpan], rows: int) -> None:
        """Put spans one after the other, and say where their windows begin there."""
        places, begin = list[tuple[int, int, int]](), 0
        for span in spans:
            samples, windows = span.samples, span.windows
            assert all(window.start + window.sample_count <= len(samples) for window in windows)
            self._span[begin : begin + len(samples)].copy_(samples)
            places += [(begin + window.start, window.sample_count, window.block_offset) for window in windows]
            begin += len(samples)
        places += [(0, 0, 0)] * (rows - len(places))
        post(torch.tensor(places, dtype=torch.int64).T.contiguous(), self._places_of(rows))

    def _places_of(self, rows: int) -> torch.Tensor:
        return self._places[: 3 * rows].view(3, rows)

    def _work(self, encoder: Any, rows: int) -> None:
        """Cut windows out of the spans, mark them, and cut the blocks out of these."""
        # Every place that is computed from a number is kept in bounds: a fault on the device would end the process.
        start, shown, offset = self._places_of(rows).unbind()
        samples = shown.clamp(0, WINDOW_SAMPLES)
        place = torch.arange(WINDOW_SAMPLES, device=start.device)
        seen = self._span[(start[:, None] + place).clamp(0, len(self._span) - 1)]
        audio = torch.where(place < samples[:, None], seen, 0.0)
        marked = marked_windows(encoder, self._cosine, audio, samples)
        block = offset[:, None] + torch.arange(BLOCK_SAMPLES, device=start.device)
        self._blocks[:rows].copy_(marked.gather(1, block.clamp(0, WINDOW_SAMPLES - 1)))

    def __repr__(self) -> str:
        return f"<CapturedEncoder {'captured' if self._replays else 'not captured'} on {self.device}>"


def _address(encoder: Any) -> int:
    """Return where an encoder's weights begin."""
    return int(next(encoder.parameters()).data_ptr())
