"""Slots that nobody asks for tokens of: their keys, values and numbers wait on the host, and their pages are others'.

A slot's number stays its own, so that it never comes back to find no place; but its numbers and settings travel too.
They are in scratch memory, which may leave once no slot has pages in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tts_service.speech.captured.t3_state import SlotState
from tts_service.speech.captured.token_pages import KeyValuePages
from tts_service.speech.captured.waiting_pages import WaitingRoom
from tts_service.speech.resting import Leave


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Luggage:
    """What a slot left with: the contents of its pages, row by row with so many each, and its numbers."""

    pages: Sequence[torch.Tensor]
    rows: int
    state: tuple[torch.Tensor, ...]

    @property
    def row_pages(self) -> int:
        """Pages of each row."""
        return len(self.pages) // self.rows


class SlotsAway:
    """Sends slots to `room` and brings them back. Calls are on the stream that computes tokens, one at a time."""

    def __init__(self, state: SlotState, pages: KeyValuePages, room: WaitingRoom) -> None:
        self._state = state
        self._pages = pages
        self._room = room

    def send(self, slot: int, rows: Sequence[Sequence[int]]) -> Luggage | Leave:
        """Copy a slot's pages to the host and give them back; what it left with, or why it stays."""
        taken = [page for row in rows for page in row]
        if not self._room.holds(len(taken)):
            return Leave.NO_ROOM
        if not self._room.ready(len(taken)):
            return Leave.LATER
        waiting = self._room.take(len(taken))
        try:
            state = self._state.saved(slot)
            with self._room.beside():
                for page, place in zip(taken, waiting, strict=True):
                    place.copy_(self._pages.tensor[page], non_blocking=True)
                # Here, so that nobody has them before they are copied.
                self._pages.give(taken)
        except BaseException:
            self._room.give(waiting)
            raise
        self._state.clear_pages(slot)
        return Luggage(pages=waiting, rows=len(rows), state=state)

    def bring(self, slot: int, luggage: Luggage) -> list[list[int]]:
        """Return pages with what a slot left with. DEVICE_MEMORY without pages; then nothing was done."""
        waiting = luggage.pages
        with self._room.beside():
            taken = self._pages.take(len(waiting))
            try:
                for page, place in zip(taken, waiting, strict=True):
                    self._pages.tensor[page].copy_(place, non_blocking=True)
            except BaseException:
                self._pages.give(taken)
                raise
        self._room.join()
        self._room.give(waiting)
        self._state.load(slot, luggage.state)
        count = luggage.row_pages
        return [taken[row * count : row * count + count] for row in range(luggage.rows)]

    def forget_room(self) -> None:
        """Give the system the host memory that nobody waits in."""
        self._room.trim()

    def forget(self, luggage: Luggage) -> None:
        """Give back what a slot left with: nobody wants it any more."""
        self._room.give(luggage.pages)

    def __repr__(self) -> str:
        return f"<SlotsAway in {self._room!r}>"
