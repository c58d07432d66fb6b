"""The watermark of one utterance whose audio is on the device, to samples on the host.

What `watermark.WatermarkStream` is for arrays; the grid, the windows and the pauses are its own. All blocks that can be
marked are marked at once, and reach the host in one copy, which is the only wait here.
"""

from typing import Any

import numpy as np
import torch

from tts_service.errors import Reason, ServiceError
from tts_service.speech import watermark
from tts_service.speech.captured.marks_stage import BATCH_WINDOWS, CapturedEncoder, MarkWindow
from tts_service.speech.watermark import HISTORY_SAMPLES, LOOK_AHEAD_SAMPLES, block_end
from tts_service.types import Waveform


class CapturedMarks:
    """Marks one utterance. Positions are samples from its start, at MODEL_SAMPLE_RATE_HERTZ; none is ever skipped.

    Write audio and pauses as they come; `next_blocks` gives what can leave, and after `finish` all the rest.
    """

    def __init__(self, stage: CapturedEncoder) -> None:
        self._stage = stage
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
        if self._stage.device.type == "cuda":
            pause = pause.pin_memory()
        self.write(pause.to(self._stage.device, non_blocking=True))

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
        blocks = self._next_spans()
        if not blocks:
            return None
        batches = [blocks[place : place + BATCH_WINDOWS] for place in range(0, len(blocks), BATCH_WINDOWS)]
        with torch.inference_mode():
            marked: Waveform = torch.cat([self._marked(encoder, batch) for batch in batches]).cpu().numpy()
        if not np.isfinite(marked).all():
            raise ServiceError(Reason.ENGINE_FAULT, "the voice made samples that are not numbers")
        self._emitted = blocks[-1][1]
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

    def _marked(self, encoder: Any, blocks: list[tuple[int, int]]) -> torch.Tensor:
        """Return the marked samples of up to eight blocks, on the device."""
        begin = max(0, blocks[0][0] - HISTORY_SAMPLES)
        end = min(block_end(blocks[-1][0]) + LOOK_AHEAD_SAMPLES, self._written)
        windows = [self._window(start, begin) for start, _ in blocks]
        rows = self._stage.mark(encoder, self._span(begin, end), windows)
        return torch.cat([row[: end - start] for row, (start, end) in zip(rows, blocks, strict=True)])

    def _window(self, start: int, begin: int) -> MarkWindow:
        """Return the window of the block that starts here, in a span that begins there."""
        window_start = max(0, start - HISTORY_SAMPLES)
        window_end = min(block_end(start) + LOOK_AHEAD_SAMPLES, self._written)
        return MarkWindow(
            start=window_start - begin, sample_count=window_end - window_start, block_offset=start - window_start
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
