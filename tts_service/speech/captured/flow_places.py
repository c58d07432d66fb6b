"""Memory for several decodes, each in a place of its own, and the work on it: to begin one, and a step of some.

Rules
* A place has the mel on its way and what it is made from. A step gathers the chosen places' rows into the estimator's
  input and adds to their mel where it stands, so that joining, leaving and cancelling copy nothing. Gathering reads and
  writes what a convolution's input does, of which a step has 29, and saves the mel's second copy.
* Who takes part, at which step of its own, and how long it is, comes from the host before every step: nothing on the
  device counts, and nothing of a place is read that its beginning has not written.
* Rows that nobody fills are the idle place's, whose contents are anything: no row sees another.
* What a decode begins from is written to one set of buffers, whoever it is for, since decodes begin one at a time.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch

from tts_service.speech.captured.flow_decode import GIVEN, SPEAKER_VALUES, SolverTables
from tts_service.speech.captured.flow_encoder import Encoder
from tts_service.speech.captured.flow_estimator import Estimator
from tts_service.speech.captured.flow_operations import Chosen, FlowOperations
from tts_service.speech.captured.flow_shapes import FlowShapes, StepShape
from tts_service.speech.captured.flow_weights import encoder_weights, estimator_weights
from tts_service.speech.captured.graphs import Graphs
from tts_service.speech.captured.posting import post
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, MelPrompt
from tts_service.speech.random_source import MEL_BANDS

BESIDE: Final = GIVEN - 1
"""What a frame of the estimator's input holds beside the mel: encoder's output, speaker, prompt's mel."""

Member = tuple[int, int, int]
"""Who takes part in a step: place, the number of its own step, and its frames."""


class FlowPlaces:
    """The buffers of one module's decodes, and work on them."""

    def __init__(
        self, graphs: Graphs, flow: Any, operations: FlowOperations, tables: SolverTables, *, shapes: FlowShapes
    ) -> None:
        self._encoder = Encoder(operations, encoder_weights(flow))
        self._estimator = Estimator(operations, estimator_weights(flow.decoder.estimator))
        self._operations = operations
        self._tables = tables
        self._guided = not flow.decoder.estimator.meanflow
        self._idle: Member = (shapes.places, 0, FRAMES_PER_TOKEN)
        most = shapes.most_frames
        self._tokens = graphs.buffer(most // FRAMES_PER_TOKEN, dtype=torch.int64)
        self._counts = graphs.buffer(4, dtype=torch.int32)
        self._prompt = graphs.buffer(most, MEL_BANDS, dtype=torch.float32)
        self._speaker = graphs.buffer(1, SPEAKER_VALUES, dtype=torch.float32)
        self._noise = graphs.buffer(MEL_BANDS, most, dtype=torch.float32)
        held = most if not shapes.shared_frames else shapes.shared_frames[-1]
        self._given = graphs.buffer(shapes.places + 1, held, BESIDE * MEL_BANDS, dtype=operations.dtype)
        self._mel = graphs.buffer(shapes.places + 1, held, MEL_BANDS, dtype=torch.float32)
        self._members = graphs.buffer(3 * shapes.most_streams, dtype=torch.int32)

    @property
    def steps(self) -> int:
        """How many steps a decode takes."""
        return self._tables.steps

    def rest(self, shape: StepShape) -> None:
        """Fill the buffers with what any work can be tried on."""
        for each in (self._tokens, self._prompt, self._speaker, self._noise, self._given, self._mel):
            each.zero_()
        place, _, frames = self._idle
        post(torch.tensor([FRAMES_PER_TOKEN, 0, frames, place], dtype=torch.int32), self._counts)
        self.choose([], shape)

    def write(self, place: int, prompt: MelPrompt, tokens: torch.Tensor, noise: torch.Tensor) -> None:
        """Put in what a place's decode is made from; `noise` (80, frames) says how many frames there are."""
        prompt_tokens, frames = len(prompt.tokens), noise.shape[1]
        count = prompt_tokens + len(tokens)
        post(torch.tensor([count, len(prompt.mel), frames, place], dtype=torch.int32), self._counts)
        self._tokens[:prompt_tokens].copy_(prompt.tokens, non_blocking=True)
        self._tokens[prompt_tokens:count].copy_(tokens, non_blocking=True)
        self._prompt[: len(prompt.mel)].copy_(prompt.mel, non_blocking=True)
        self._speaker.copy_(prompt.speaker[None], non_blocking=True)
        self._noise[:, :frames].copy_(noise, non_blocking=True)

    def begin(self, frames: int) -> None:
        """Encode what was written, padded to this many frames, into its place."""
        tokens = self._tokens[None, : frames // FRAMES_PER_TOKEN]
        hidden = self._encoder.frames(tokens, self._counts[:1])[0]
        frame = torch.arange(frames, device=hidden.device)[:, None]
        real = frame < self._counts[2]
        given = hidden.new_empty(frames, BESIDE, MEL_BANDS)
        given[:, 0] = torch.where(real, hidden, 0.0)
        given[:, 1] = self._encoder.speaker(self._speaker)
        given[:, 2] = torch.where(frame < self._counts[1], self._prompt[:frames], 0.0)
        place = self._counts[3:].long()
        self._given[:, :frames].index_copy_(0, place, given.flatten(1)[None])
        self._mel[:, :frames].index_copy_(0, place, torch.where(real, self._noise[:, :frames].T, 0.0)[None])

    def choose(self, members: Sequence[Member], shape: StepShape) -> None:
        """Say who takes the next step of this shape."""
        assert len(members) <= shape.streams
        rows = [*members, *[self._idle] * (shape.streams - len(members))]
        post(torch.tensor(rows, dtype=torch.int32).T.contiguous(), self._chosen(shape))

    def step(self, shape: StepShape) -> None:
        """Take a step of those who were chosen, padded to the shape."""
        places, numbers, lengths = self._chosen(shape).unbind()
        chosen = Chosen(places=places, lengths=lengths, frames=shape.frames, guided=self._guided)
        times, span, _ = self._tables.of(numbers)
        rows = self._operations.gathered(self._mel, self._given, chosen)
        direction = self._estimator.direction(rows, times, chosen.row_lengths())
        self._operations.advance(direction, self._mel, span, chosen)

    def mel(self, place: int, begin: int, end: int) -> torch.Tensor:
        """Return a place's frames from `begin` to `end` (80, frames), to keep."""
        return self._mel[place, begin:end].T.clone(memory_format=torch.contiguous_format)

    def _chosen(self, shape: StepShape) -> torch.Tensor:
        """Return places, numbers of steps and lengths (3, streams)."""
        return self._members[: 3 * shape.streams].view(3, shape.streams)

    def __repr__(self) -> str:
        return f"<FlowPlaces {len(self._mel) - 1} of up to {self._mel.shape[1]} frames, {self.steps} steps>"
