"""The work that captured T3 repeats: a pass for every number of slots and every length of prompt, and the choice after.

Passes end with logits, from which a choice takes them: what a slot's settings ask of the choice does not multiply the
passes. All buckets read their slots from the same buffer and leave their logits in the same one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.graphs import Graphs, Work
from tts_service.speech.captured.posting import post
from tts_service.speech.captured.t3_arithmetic import T3Arithmetic, Watched, prompt_logits, step_logits
from tts_service.speech.captured.t3_state import ROWS, Batch, SlotState
from tts_service.speech.captured.t3_weights import T3Weights

PROMPT_POSITIONS: Final = {
    ChatterboxModel.ENGLISH: (96, 160, 256, 384),
    ChatterboxModel.MULTILINGUAL: (96, 160, 256, 384),
    ChatterboxModel.TURBO: (416, 448, 512, 640),
}
"""A voice takes 34 positions, Turbo's 376; a text's token about three letters, of which a segment has 300 at most.

A pass over 96 took 1.61 ms and over 384 2.44 (H100, English).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How things are computed: the arithmetic for a pass of so many lines, and the choice of tokens.

    The choice takes logits, batch, and whether some slot's settings ask for tokens in order. `follow` is for networks
    with watched heads: what follows for the slots from where in the text they are.
    """

    arithmetic: Callable[[T3Weights, int], T3Arithmetic]
    choose: Callable[[T3Weights, torch.Tensor, Batch, bool], None]
    follow: Callable[[T3Weights, Watched, Batch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Which numbers of slots, rows of a slot and prompt lengths are captured; each in ascending order."""

    slots: Sequence[int]
    rows: Sequence[int]
    prompts: Sequence[int]
    orders: Sequence[bool] = (False, True)

    @classmethod
    def of(cls, model: ChatterboxModel, slots: int) -> "Buckets":
        """Return the usual ones: powers of two of slots up to so many."""
        counts = [1 << power for power in range(slots.bit_length()) if 1 << power < slots]
        rows = (1,) if model is ChatterboxModel.TURBO else (1, ROWS)
        return cls(slots=(*counts, slots), rows=rows, prompts=PROMPT_POSITIONS[model])


def least(buckets: Sequence[int], count: int) -> int | None:
    """Return the smallest bucket that holds a count, or None."""
    return next((each for each in buckets if each >= count), None)


class T3Passes:
    """All passes over one network's weights: their results are in the state. `head` is the network's last matrix."""

    def __init__(
        self,
        graphs: Graphs,
        *,
        state: SlotState,
        pages: torch.Tensor,
        head: torch.Tensor,
        buckets: Buckets,
        ways: Ways,
    ) -> None:
        self._graphs = graphs
        self._state = state
        self._pages = pages
        self._buckets = buckets
        self._ways = ways
        self._most_slots = buckets.slots[-1]
        vocabulary, channels = head.shape
        self._inputs = graphs.buffer((ROWS + 1) * self._most_slots, dtype=torch.int32)
        self._logits = graphs.buffer(ROWS * self._most_slots, vocabulary, dtype=torch.float32)
        self._embeddings = graphs.buffer(ROWS * buckets.prompts[-1] * channels, dtype=head.dtype)
        self._steps: dict[tuple[int, int], Work] = {}
        self._choices: dict[tuple[int, bool], Work] = {}
        self._prompts: dict[tuple[int, int], Work] = {}

    def capture(self, weights: T3Weights) -> None:
        """Capture everything anew over these weights, under a lease on their module."""
        self._weights = weights
        self._fill_up()
        for slots in self._buckets.slots:
            for rows in self._buckets.rows:
                self._steps[slots, rows] = self._captured(f"step {slots}x{rows}", partial(self._step, slots, rows))
            for ordered in self._buckets.orders:
                choice = partial(self._choose, slots, ordered)
                self._choices[slots, ordered] = self._captured(f"choice {slots}", choice)
        for rows in self._buckets.rows:
            for count in self._buckets.prompts:
                prompt = partial(self._prompt, self._prompt_buffer(rows, count))
                self._prompts[count, rows] = self._captured(f"prompt {count}x{rows}", prompt)

    def set_slots(self, slots: Sequence[int], rows: int) -> int:
        """Say over which slots, of so many rows each, what follows goes; return their bucket."""
        bucket = least(self._buckets.slots, len(slots))
        assert bucket is not None, f"{len(slots)} slots at once"
        filled = [*slots, *[self._state.nobodys] * (bucket - len(slots))]
        places = [slot * ROWS + row for row in range(rows) for slot in filled]
        partners = [place + (rows - 1) * bucket for place in range(bucket)]
        spare = [self._state.nobodys * ROWS] * (ROWS * self._most_slots - len(places))
        inputs = [*places, *spare, *partners, *[0] * (self._most_slots - bucket)]
        post(torch.tensor(inputs, dtype=torch.int32), self._inputs)
        return bucket

    def step(self, bucket: int, rows: int, *, ordered: bool) -> None:
        """Compute one token of each slot that was set."""
        self._steps[bucket, rows]()
        self._choices[bucket, ordered]()

    def prompt(self, embeddings: torch.Tensor, *, ordered: bool) -> None:
        """Read a prompt (rows, positions, channels) of the one slot that was set, and compute its first token."""
        rows, count, _ = embeddings.shape
        bucket = least(self._buckets.prompts, count)
        if bucket is None:
            self._prompt(embeddings)
        else:
            buffer = self._prompt_buffer(rows, bucket)
            buffer[:, :count].copy_(embeddings)
            # Padding is seen by padding alone, but no attention stands numbers that are none.
            buffer[:, count:].zero_()
            self._prompts[bucket, rows]()
        self._choices[self._buckets.slots[0], ordered]()

    def _captured(self, name: str, work: Work) -> Work:
        return self._graphs.capture(f"t3 {name}", work)

    def _fill_up(self) -> None:
        """Let capturing find only nobody's slot."""
        self._state.clear(self._weights.start_token)
        self._inputs.fill_(self._state.nobodys * ROWS)
        self._inputs[ROWS * self._most_slots :] = 0
        self._embeddings.zero_()

    def _batch(self, slots: int, rows: int) -> Batch:
        partners = self._inputs[ROWS * self._most_slots :]
        return Batch(state=self._state, pages=self._pages, rows=self._inputs[: slots * rows], partners=partners[:slots])

    def _prompt_buffer(self, rows: int, count: int) -> torch.Tensor:
        channels = self._weights.channels
        return self._embeddings[: rows * count * channels].view(rows, count, channels)

    def _step(self, slots: int, rows: int) -> None:
        arithmetic = self._ways.arithmetic(self._weights, slots * rows)
        batch = self._batch(slots, rows)
        self._follow(step_logits(arithmetic, self._weights, batch, self._logits[: slots * rows]), batch)

    def _follow(self, watched: Watched | None, batch: Batch) -> None:
        if watched is not None:
            self._ways.follow(self._weights, watched, batch)

    def _choose(self, slots: int, ordered: bool) -> None:  # noqa: FBT001  # Bound by `partial`, once.
        self._ways.choose(self._weights, self._logits, self._batch(slots, 1), ordered)

    def _prompt(self, embeddings: torch.Tensor) -> None:
        rows, count, _ = embeddings.shape
        arithmetic = self._ways.arithmetic(self._weights, rows * count)
        batch = Batch(
            state=self._state, pages=self._pages, rows=self._inputs[:rows], partners=self._batch(1, 1).partners
        )
        self._follow(prompt_logits(arithmetic, self._weights, batch, embeddings, self._logits[:rows]), batch)

    def __repr__(self) -> str:
        return f"<T3Passes {len(self._steps)} steps, {len(self._prompts)} prompts, {len(self._choices)} choices>"
