"""One decode's memory, and the two pieces of work on it: to begin, and one step of the solver.

Rules
* Every length works on the same memory, seen in its own shape, so only one decode of these buffers is on its way.
* A step knows from its stream which step it is, and counts by itself: the same work is done for every step, and what
  the host does between two of them is nothing. `begin` starts the count.
* Rows are the streams' with guidance, then, unless the estimator is a meanflow's, the same streams' without.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch

from tts_service.speech.captured.flow_encoder import Encoder
from tts_service.speech.captured.flow_estimator import Estimator, time_table
from tts_service.speech.captured.flow_operations import FlowOperations
from tts_service.speech.captured.flow_weights import encoder_weights, estimator_weights
from tts_service.speech.captured.graphs import Graphs
from tts_service.speech.captured.posting import post
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, GUIDED_STEPS, MEANFLOW_STEPS, MelPrompt
from tts_service.speech.random_source import MEL_BANDS

SPEAKER_VALUES: Final = 192

GIVEN: Final = 4
"""What a frame of the estimator's input holds, 80 channels each: mel, encoder's output, speaker, prompt's mel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverTables:
    """What depends on nothing but weights, in fp32: `rows`, one for each step, so that one launch looks a step up.

    A row has the times' (levels, channels), the span's three values, and the number of the step that follows; the last
    one's is the first, so that any number of steps may be replayed.
    """

    rows: torch.Tensor
    levels: int

    @property
    def steps(self) -> int:
        """How many steps a decode takes."""
        return len(self.rows)

    def of(self, step: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return times (streams, levels, channels), spans (streams, 3) and the steps that follow (streams,)."""
        row = self.rows.index_select(0, step)
        return row[:, :-4].view(len(row), self.levels, -1), row[:, -4:-1], row[:, -1]


def solver_tables(solver: Any, device: torch.device) -> SolverTables:
    """Compute the tables of upstream's `CausalConditionalCFM`: its times, its steps' lengths and its guidance."""
    if solver.estimator.meanflow:
        times, weights = torch.linspace(0, 1, MEANFLOW_STEPS + 1, device=device), (1.0, 0.0)
    else:
        straight = torch.linspace(0, 1, GUIDED_STEPS + 1, device=device)
        times = 1 - torch.cos(straight * 0.5 * torch.pi)
        weights = (1.0 + solver.inference_cfg_rate, -solver.inference_cfg_rate)
    lengths = torch.stack([end - begin for begin, end in pairwise(times)])
    spans = torch.cat([lengths[:, None], torch.tensor([weights], device=device).expand(len(lengths), 2)], dim=1)
    made = time_table(solver.estimator, times)
    following = torch.arange(1, len(lengths) + 1, device=device)[:, None] % len(lengths)
    return SolverTables(rows=torch.cat([made.flatten(1), spans, following], dim=1), levels=made.shape[1])


class FlowDecode:
    """The buffers for decodes up to some length, and work on them. One stream for now; rows are many already."""

    def __init__(
        self, graphs: Graphs, flow: Any, operations: FlowOperations, tables: SolverTables, *, frames: int
    ) -> None:
        self._encoder = Encoder(operations, encoder_weights(flow))
        self._estimator = Estimator(operations, estimator_weights(flow.decoder.estimator))
        self._operations = operations
        self._tables = tables
        self._rows = 1 if flow.decoder.estimator.meanflow else 2
        dtype = operations.dtype
        self._tokens = graphs.buffer(frames // FRAMES_PER_TOKEN, dtype=torch.int64)
        self._counts = graphs.buffer(2 + self._rows, dtype=torch.int32)
        self._prompt = graphs.buffer(frames, MEL_BANDS, dtype=torch.float32)
        self._speaker = graphs.buffer(1, SPEAKER_VALUES, dtype=torch.float32)
        self._noise = graphs.buffer(MEL_BANDS, frames, dtype=torch.float32)
        self._given = graphs.buffer(self._rows * frames * GIVEN * MEL_BANDS, dtype=dtype)
        self._mel = graphs.buffer(frames * MEL_BANDS, dtype=torch.float32)
        self._step = graphs.buffer(1, dtype=torch.int64)
        self._frames = frames

    @property
    def steps(self) -> int:
        """How often `step` is to be done."""
        return self._tables.steps

    def rest(self) -> None:
        """Fill the buffers with what any work can be tried on."""
        for each in (self._tokens, self._prompt, self._speaker, self._noise, self._given, self._mel, self._step):
            each.zero_()
        self._counts.fill_(FRAMES_PER_TOKEN)

    def write(self, prompt: MelPrompt, tokens: torch.Tensor, noise: torch.Tensor) -> None:
        """Put in what a decode is made from; `noise` (80, frames) says how many frames there are."""
        prompt_tokens, frames = len(prompt.tokens), noise.shape[1]
        count = prompt_tokens + len(tokens)
        counts = [count, len(prompt.mel), *[frames] * self._rows]
        post(torch.tensor(counts, dtype=torch.int32), self._counts)
        self._tokens[:prompt_tokens].copy_(prompt.tokens, non_blocking=True)
        self._tokens[prompt_tokens:count].copy_(tokens, non_blocking=True)
        self._prompt[: len(prompt.mel)].copy_(prompt.mel, non_blocking=True)
        self._speaker.copy_(prompt.speaker[None], non_blocking=True)
        self._noise[:, :frames].copy_(noise, non_blocking=True)

    def begin(self, frames: int) -> None:
        """Encode, and lay out the estimator's input, both padded to this many frames; start the count of steps."""
        tokens = self._tokens[None, : frames // FRAMES_PER_TOKEN]
        hidden = self._encoder.frames(tokens, self._counts[:1])[0]
        given, mel = self._shaped(frames)
        frame = torch.arange(frames, device=given.device)[:, None]
        real = frame < self._counts[2]
        given.zero_()
        mel[0] = torch.where(real, self._noise[:, :frames].T, 0.0)
        first = given[0].view(frames, GIVEN, MEL_BANDS)
        first[:, 1] = torch.where(real, hidden, 0.0)
        first[:, 2] = self._encoder.speaker(self._speaker)
        first[:, 3] = torch.where(frame < self._counts[1], self._prompt[:frames], 0.0)
        given[..., :MEL_BANDS] = mel
        self._step.zero_()

    def step(self, frames: int) -> None:
        """Take the solver's next step, padded to this many frames."""
        given, mel = self._shaped(frames)
        times, span, following = self._tables.of(self._step)
        direction = self._estimator.direction(given, times, self._counts[2:])
        self._operations.solve(direction, mel, given, span)
        self._step.copy_(following)

    def mel(self, frames: int, begin: int, end: int) -> torch.Tensor:
        """Return the frames from `begin` to `end` of a decode that was padded to `frames`, (80, frames), to keep."""
        made = self._shaped(frames)[1][0, begin:end].T
        return made.clone(memory_format=torch.contiguous_format)

    def _shaped(self, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the estimator's input (rows, frames, 320) and the mel (1, frames, 80) for a length."""
        assert frames <= self._frames
        given = self._given[: self._rows * frames * GIVEN * MEL_BANDS].view(self._rows, frames, GIVEN * MEL_BANDS)
        return given, self._mel[: frames * MEL_BANDS].view(1, frames, MEL_BANDS)

    def __repr__(self) -> str:
        return f"<FlowDecode {self._rows} rows of up to {self._frames} frames, {self.steps} steps>"
