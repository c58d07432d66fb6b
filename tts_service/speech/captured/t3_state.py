"""All that a request changes in captured T3, as tensors by slot, so that one graph serves whatever slots it is given.

Rules
* A slot is one segment. Its two rows are speech with text and, for guidance, without; each has a table of pages.
* The last slot is nobody's: it fills batches up. It owns no pages, and what is computed for it is not looked at.
* A slot's numbers are written before its first pass, and by the choice of each token after that.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import torch

from tts_service.speech.alignment_guard import TAIL_TOKENS
from tts_service.speech.captured.graphs import Graphs
from tts_service.speech.captured.posting import post
from tts_service.speech.captured.token_pages import PAGE_POSITIONS
from tts_service.speech.sampling import Sampling

BURST_TOKENS: Final = 8
"""A slot's last tokens that the host can still fetch: 320 ms of speech."""

FAULT: Final = -1
"""Stands where a token would, if there was none to choose."""

FORCED: Final = 1 << 16
"""Added to a token that Multilingual's alignment guard has forced."""

NO_PAGE: Final = -1

ROWS: Final = 2
"""Rows of a slot: with text, and without."""


class Number(IntEnum):
    """Columns of a slot's numbers."""

    POSITION = 0
    """Positions that its rows' pages hold; at a prompt's pass, one fewer than the prompt has."""
    STEP = 1
    """Tokens chosen."""
    LAST = 2
    """The last one of them."""
    KEY = 3
    """Of the token choices' random numbers."""


class Setting(IntEnum):
    """Columns of a slot's settings."""

    TEMPERATURE = 0
    TOP_P = 1
    MIN_P = 2
    TOP_K = 3
    REPETITION_PENALTY = 4
    CFG_WEIGHT = 5


class Followed(IntEnum):
    """Columns of what the alignment guard remembers of a slot: `AlignmentState`, and the text's place."""

    START = 0
    """The text's positions are [start, end)."""
    END = 1
    POSITION = 2
    COMPLETE = 3
    EARLIER = 4
    BEFORE = 5
    """The token before the last one."""
    TAIL = 6
    """The first of three columns."""


class Rule(IntEnum):
    """`StopRule`, as a slot has it."""

    FREE = 0
    SUPPRESSED = 1
    FORCED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """Tensors by slot; one slot more than can be had.

    `numbers` (slots, 4) int64, `settings` (slots, 6) float32, `said` (slots, vocabulary) bool, `tables` (slots * rows,
    pages) int32, `burst` (slots, 8) int32: the token of step n is in column n % 8. `followed` (slots, 9) is float64, so
    that sums are those of Python's numbers; `rules` (slots,) int32 are for the next token.
    """

    numbers: torch.Tensor
    settings: torch.Tensor
    said: torch.Tensor
    tables: torch.Tensor
    burst: torch.Tensor
    followed: torch.Tensor
    rules: torch.Tensor

    @classmethod
    def on(cls, graphs: Graphs, *, slots: int, vocabulary: int, positions: int) -> "SlotState":
        """Return the state of so many slots and one, for rows of at most so many positions."""
        count, pages = slots + 1, -(-positions // PAGE_POSITIONS)
        return cls(
            numbers=graphs.buffer(count, len(Number), dtype=torch.int64),
            settings=graphs.buffer(count, len(Setting), dtype=torch.float32),
            said=graphs.buffer(count, vocabulary, dtype=torch.bool),
            tables=graphs.buffer(count * ROWS, pages, dtype=torch.int32),
            burst=graphs.buffer(count, BURST_TOKENS, dtype=torch.int32),
            followed=graphs.buffer(count, Followed.TAIL + TAIL_TOKENS, dtype=torch.float64),
            rules=graphs.buffer(count, dtype=torch.int32),
        )

    @property
    def nobodys(self) -> int:
        """The slot that fills up."""
        return len(self.numbers) - 1

    def clear(self, start_token: int) -> None:
        """Write nobody's slot, which is all that must be there before anybody's."""
        self.begin(self.nobodys, prompt=1, text_span=(0, 1), key=0, start_token=start_token, sampling=Sampling())

    def begin(
        self, slot: int, *, prompt: int, text_span: tuple[int, int], key: int, start_token: int, sampling: Sampling
    ) -> None:
        """Write a slot's numbers and settings for a prompt of so many positions; it has no pages yet."""
        post(torch.tensor([prompt - 1, 0, start_token, key]), self.numbers[slot])
        settings = [
            sampling.temperature,
            sampling.top_p,
            sampling.min_p,
            float(sampling.top_k),
            sampling.repetition_penalty,
            sampling.cfg_weight,
        ]
        post(torch.tensor(settings), self.settings[slot])
        self.said[slot] = False
        self.said[slot, start_token] = True
        self.clear_pages(slot)
        self.followed[slot] = 0.0
        post(torch.tensor(text_span, dtype=torch.float64), self.followed[slot, : Followed.POSITION])
        self.rules[slot] = Rule.FREE

    def clear_pages(self, slot: int) -> None:
        """Write that a slot has no pages."""
        self.tables[slot * ROWS : slot * ROWS + ROWS] = NO_PAGE

    def saved(self, slot: int) -> tuple[torch.Tensor, ...]:
        """Return copies on the host of all that a slot has but its pages, once the current stream is there."""
        return tuple(_on_host(row) for row in self._rows(slot))

    def load(self, slot: int, saved: tuple[torch.Tensor, ...]) -> None:
        """Write what was saved of a slot; it has no pages yet."""
        for row, value in zip(self._rows(slot), saved, strict=True):
            row.copy_(value, non_blocking=True)
        self.clear_pages(slot)

    def _rows(self, slot: int) -> tuple[torch.Tensor, ...]:
        own = (self.numbers, self.settings, self.said, self.burst, self.followed, self.rules)
        return tuple(each[slot : slot + 1] for each in own)

    def set_pages(self, slot: int, rows: list[list[int]]) -> None:
        """Write which pages each of a slot's rows has, in the order of positions."""
        table = torch.full((ROWS, self.tables.shape[1]), NO_PAGE, dtype=torch.int32)
        for row, pages in enumerate(rows):
            table[row, : len(pages)] = torch.tensor(pages, dtype=torch.int32)
        post(table, self.tables[slot * ROWS : slot * ROWS + ROWS])


def _on_host(row: torch.Tensor) -> torch.Tensor:
    return torch.empty(row.shape, dtype=row.dtype, pin_memory=row.is_cuda).copy_(row, non_blocking=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one pass is over: a buffer per bucket, written before each replay.

    `pages` is `KeyValuePages.tensor`. `rows` (rows,) int32 are places in the tables, slot * 2 + row: first every slot's
    row with text, in the order of slots, then those without. `partners` (slots,) int32 say which row leads each slot's
    logits away: its own for none.
    """

    state: SlotState
    pages: torch.Tensor
    rows: torch.Tensor
    partners: torch.Tensor

    @property
    def slots(self) -> torch.Tensor:
        """The slots (slots,), one for each token that is chosen."""
        return self.rows[: len(self.partners)] // ROWS
