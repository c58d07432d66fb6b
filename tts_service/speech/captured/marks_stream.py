"""The watermark of one utterance whose audio is on the device, to samples on the host.

What `watermark.WatermarkStream` is for arrays; the grid, the windows and the pauses are its own. All blocks that can be
marked are marked at once, and reach the host in one copy, which is the only wait here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tts_service.errors import Reason, ServiceError
from tts_service.speech import watermark
from tts_service.speech.captured.marks_stage import BATCH_WINDOWS, CapturedEncoder, MarkSpan, MarkWindow
from tts_service.speech.watermark import HISTORY_SAMPLES, LOOK_AHEAD_SAMPLES, block_end
from tts_service.types import Waveform


class CapturedMarks:
    """Marks one utterance. Positions are samples from its start, at MODEL_SAMPLE_RATE_HERTZ; none is ever skipped.

    Write audio and pauses as they come; `next_blocks` gives what can leave, and after `finish` all the rest.
    """

    def __init__(self, stage: CapturedEncoder, *, alone: bool = False) -> None:
        self.stage = stage
        self._alone = alone
        self._held: list[torch.Tensor] = []
        self._held_from = 0
        self._written = 0
        self._emitted = 0
        self._finished = False

    def write(self, wave: torch.Tensor) -> None:
        """Take audio (samples,), float32 on the stage's device, of any length; it must not change afterwards."""
        assert not self._finished
        assert wave.ndim == 1
        assert wave.dtype == torch.float32
        self._held.append(wave)
        self._written += len(wave)

    def pause(self, count: int) -> None:
        """Write the pause that belongs here, of so many samples."""
        pause = torch.from_numpy(watermark.pause(count, start=self._written))
        if self.stage.device.type == "cuda":
            pause = pause.pin_memory()
        self.write(pause.to(self.stage.device, non_blocking=True))

    def finish(self) -> None:
        """Say that no more audio comes."""
        self._finished = True

    @property
    def ready(self) -> bool:
        """Whether `next_blocks` has anything to give."""
        return self._next_end(self._emitted) is not None

    def next_blocks(self, encoder: Any) -> Waveform | None:
        """Return all samples that can be marked now, on the host; None if they need more audio or none are left.

        `encoder` is the leased `PerthEncoder`. If it fails, nothing is lost: the same samples come next. ENGINE_FAULT
        if what was written holds what is not a number.
        """
        with torch.inference_mode():
            marked = [_blocks(span, self.stage.mark(encoder, span.samples, span.windows)) for span in self.spans()]
            return self.taken(torch.cat(marked).cpu().numpy()) if marked else None

    def taken(self, marked: Waveform) -> Waveform:
        """Return what was marked of all `spans`, on the host, whose blocks are then out; raise as `next_blocks`."""
        if not np.isfinite(marked).all():
            raise ServiceError(Reason.ENGINE_FAULT, "the voice made samples that are not numbers")
        self._emitted += len(marked)
        self._forget()
        return marked

    def _next_end(self, start: int) -> int | None:
        """Return where the block from here ends, if it can be marked."""
        end = block_end(start)
        if self._finished:
            return min(end, self._written) if start < self._written else None
        return end if end + LOOK_AHEAD_SAMPLES <= self._written else None

    def _next_spans(self) -> list[tuple[int, int]]:
        """Return the blocks that can be marked, each from its start to its end."""
        spans: list[tuple[int, int]] = []
        start = self._emitted
        while (end := self._next_end(start)) is not None:
            spans.append((start, end))
            start = end
        return spans

    def spans(self) -> list[MarkSpan]:
        """Return the audio of all blocks that can be marked, with up to eight of them each."""
        blocks = self._next_spans()
        batches = [blocks[place : place + BATCH_WINDOWS] for place in range(0, len(blocks), BATCH_WINDOWS)]
        return [self._span_of(batch) for batch in batches]

    def _span_of(self, blocks: list[tuple[int, int]]) -> MarkSpan:
        begin = max(0, blocks[0][0] - HISTORY_SAMPLES)
        end = min(block_end(blocks[-1][0]) + LOOK_AHEAD_SAMPLES, self._written)
        windows = tuple(self._window(*block, begin) for block in blocks)
        return MarkSpan(samples=self._span(begin, end), windows=windows, alone=self._alone)

    def _window(self, start: int, end: int, begin: int) -> MarkWindow:
        """Return the window of the block from `start` to `end`, in a span that begins at `begin`."""
        window_start = max(0, start - HISTORY_SAMPLES)
        window_end = min(block_end(start) + LOOK_AHEAD_SAMPLES, self._written)
        return MarkWindow(
            start=window_start - begin,
            sample_count=window_end - window_start,
            block_offset=start - window_start,
            block_samples=end - start,
        )

    def _span(self, start: int, end: int) -> torch.Tensor:
        if len(self._held) > 1:
            self._held = [torch.cat(self._held)]
        return self._held[0][start - self._held_from : end - self._held_from]

    def _forget(self) -> None:
        """Let go of what no window needs any more."""
        surplus = max(0, self._emitted - HISTORY_SAMPLES) - self._held_from
        if 2 * surplus > len(self._held[0]):
            self._held = [self._held[0][surplus:].clone()]
            self._held_from += surplus

    def __repr__(self) -> str:
        state = "finished" if self._finished else "open"
        return f"<CapturedMarks {self._emitted} of {self._written} samples marked | {state}>"


def next_of_all(
    encoder: Any, streams: Sequence[CapturedMarks], stage: CapturedEncoder | None = None
) -> list[Waveform | ServiceError | None]:
    """Return what `next_blocks` of several streams gives, or raises, by one stage and in one copy to the host.

    A stream whose voice made what is not a number has an error, and the others their samples. If it fails for all,
    nothing is lost.
    """
    asked = [stream.spans() for stream in streams]
    spans = [span for each in asked for span in each]
    if not spans:
        return [None] * len(streams)
    with torch.inference_mode():
        rows = (stage or streams[0].stage).mark_all(encoder, spans)
        blocks = [_blocks(span, each) for span, each in zip(spans, rows, strict=True)]
        lengths = [sum(window.block_samples for span in each for window in span.windows) for each in asked]
        marked = torch.cat(blocks).cpu().split_with_sizes(lengths)
    return [_outcome(stream, each.numpy()) for stream, each in zip(streams, marked, strict=True)]


def _outcome(stream: CapturedMarks, marked: Waveform) -> Waveform | ServiceError | None:
    if not len(marked):
        return None
    try:
        return stream.taken(marked)
    except ServiceError as error:
        return error


def _blocks(span: MarkSpan, rows: torch.Tensor) -> torch.Tensor:
    """Return the samples of a span's blocks, one after the other, from its rows: an utterance's last one is shorter."""
    if all(window.block_samples == rows.shape[1] for window in span.windows):
        return rows.flatten()
    return torch.cat([row[: window.block_samples] for row, window in zip(rows, span.windows, strict=True)])
