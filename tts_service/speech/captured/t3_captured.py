"""T3 on a GPU: slots for segments, passes over many of them at once as graphs, and no reading back in between.

Rules
* One caller at a time; a lock sees to it. All work is on the caller's current stream.
* Work is captured over the weights' addresses by `capture`, outside serving. A module that comes back to the same
  addresses may have been away in between; an open slot's pages and numbers stay.
* Before a pass its slots own pages for every position that it writes. A slot that goes on after its segment has ended
  does no harm: what has no page is not written.
* A slot may leave: it has no pages then, and its numbers are not there. With its next tokens it comes back.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import torch

from tts_service.errors import Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.alignment_guard import ALIGNED_HEADS
from tts_service.speech.captured.graphs import Graphs
from tts_service.speech.captured.slots_away import Luggage, SlotsAway
from tts_service.speech.captured.t3_choice import is_ordered
from tts_service.speech.captured.t3_passes import Buckets, T3Passes, Ways
from tts_service.speech.captured.t3_state import BURST_TOKENS, SlotState
from tts_service.speech.captured.t3_weights import first_address, weights_of
from tts_service.speech.captured.token_pages import PAGE_POSITIONS, KeyValuePages
from tts_service.speech.captured.waiting_pages import WaitingRoom
from tts_service.speech.made_once import MadeOnce
from tts_service.speech.resting import Leave
from tts_service.speech.sampling import Sampling
from tts_service.speech.token_backbone import T3Network
from tts_service.speech.token_prompt import TokenVoice, voice_embeddings

MAX_POSITIONS: Final = 4_096
"""Of one row: any text and voice that fit a segment, and 1,000 tokens."""


@dataclass(eq=False, slots=True, kw_only=True)
class Slot:
    """One segment's place. `pages` by row; `positions` are written or on their way, `steps` tokens likewise.

    `luggage` is what it left with, while it is away; then it has no pages.
    """

    index: int
    rows: int
    ordered: bool
    positions: int
    steps: int = 0
    pages: list[list[int]] = field(default_factory=list)
    luggage: Luggage | None = None


class CapturedT3:
    """One network's slots and passes. `capture` comes first.

    `pages` are the network's own. Batches hold slots of one number of rows. There are `slots`, or as many as the
    largest batch holds. `room` is where slots may leave for; without one they stay.
    """

    def __init__(
        self,
        *,
        model: ChatterboxModel,
        t3: T3Network,
        graphs: Graphs,
        pages: KeyValuePages,
        buckets: Buckets,
        ways: Ways,
        slots: int | None = None,
        room: WaitingRoom | None = None,
    ) -> None:
        slots = slots or buckets.slots[-1]
        assert slots >= buckets.slots[-1]
        self.model = model
        self._voiced = MadeOnce[TokenVoice, torch.Tensor]()
        self._pages = pages
        self._state = SlotState.on(
            graphs, slots=slots, vocabulary=t3.speech_head.weight.shape[0], positions=MAX_POSITIONS
        )
        self._passes = T3Passes(
            graphs,
            state=self._state,
            pages=pages.tensor,
            head=t3.speech_head.weight,
            buckets=buckets,
            ways=ways,
        )
        self._start_token: int = t3.hp.start_speech_token
        self._address: int | None = None
        self.away = None if room is None else SlotsAway(self._state, pages, room)
        self._free = list(reversed(range(slots)))
        self._present = 0
        self._slots = slots
        self._most_at_once = buckets.slots[-1]
        self._lock = threading.RLock()
        self._dropped: deque[Slot] = deque()
        is_cuda = graphs.device.type == "cuda"
        self._landing = torch.empty(slots + 1, BURST_TOKENS, dtype=torch.int32, pin_memory=is_cuda)

    @property
    def open_slots(self) -> int:
        """How many segments are open."""
        return self._slots - len(self._free)

    @property
    def free_slots(self) -> int:
        """How many segments more may be opened; those that were dropped count once they are given back."""
        return len(self._free) + len(self._dropped)

    @property
    def most_at_once(self) -> int:
        """How many slots a batch may hold."""
        return self._most_at_once

    def is_captured(self, t3: T3Network) -> bool:
        """Say whether what was captured is worth something for this module, at the addresses that it has."""
        return self._address == first_address(t3)

    def capture(self, t3: T3Network) -> None:
        """Capture all work over a leased module, unless that has been done. No slot is open."""
        if self.is_captured(t3):
            return
        with self._alone():
            assert not self.open_slots
            watched = ALIGNED_HEADS if self.model is ChatterboxModel.MULTILINGUAL else ()
            self._passes.capture(weights_of(t3, watched))
            self._address = first_address(t3)

    def voiced(self, t3: T3Network, voice: TokenVoice, exaggeration: float) -> torch.Tensor:
        """Return `voice_embeddings` of the same: computed layer by layer, but once, since no text changes them."""
        return self._voiced.of(voice, lambda: voice_embeddings(t3, voice, exaggeration), variant=exaggeration)

    def begin(
        self,
        t3: T3Network,
        embeddings: torch.Tensor,
        *,
        text_span: tuple[int, int],
        sampling: Sampling,
        key: int,
        burst: int,
    ) -> Slot:
        """Open a slot for a prompt (rows, positions, channels), read it, and choose the first token.

        The text's positions are [start, end) of `text_span`. `key` is the token choices' (`CounterRandom.token_key`).
        Pages are taken for `burst` tokens. AT_CAPACITY without a free slot, DEVICE_MEMORY without pages, ENGINE_FAULT
        for a prompt beyond all limits: then nothing was done.
        """
        rows, count, _ = embeddings.shape
        with self._alone():
            self._check(t3)
            slot = self._opened(rows, count, sampling)
            try:
                self._state.begin(
                    slot.index,
                    prompt=count,
                    text_span=text_span,
                    key=key,
                    start_token=self._start_token,
                    sampling=sampling,
                )
                self._extend(slot, count + burst - 1)
                self._passes.set_slots([slot.index], rows)
                self._passes.prompt(embeddings, ordered=slot.ordered)
                slot.steps = 1
            except BaseException:
                self._close(slot)
                raise
        return slot

    def reserve(self, slot: Slot, count: int) -> None:
        """Take the pages that so many more tokens of a slot need. DEVICE_MEMORY without them; then nothing was done."""
        with self._alone():
            self._extend(slot, slot.positions + count)

    def queue(self, t3: T3Network, slots: Sequence[Slot], count: int) -> None:
        """Queue so many tokens of each slot. DEVICE_MEMORY without pages for all of them; then nothing was done."""
        rows = slots[0].rows
        assert all(each.rows == rows for each in slots)
        with self._alone():
            self._check(t3)
            for slot in slots:
                self._extend(slot, slot.positions + count)
            bucket = self._passes.set_slots([slot.index for slot in slots], rows)
            ordered = any(slot.ordered for slot in slots)
            for _ in range(count):
                self._passes.step(bucket, rows, ordered=ordered)
            for slot in slots:
                slot.positions += count
                slot.steps += count

    def fetch(self, slots: Sequence[Slot], count: int) -> list[list[int]]:
        """Wait for what was queued; return the last so many tokens (8 at most) of each slot.

        Where there was none to choose stands `FAULT`; what follows is worth nothing.
        """
        assert 0 < count <= BURST_TOKENS
        with self._alone():
            self._landing.copy_(self._state.burst, non_blocking=True)
            if self._state.burst.is_cuda:
                torch.cuda.current_stream(self._state.burst.device).synchronize()
            rows = self._landing[[slot.index for slot in slots]].tolist()
        steps = [range(slot.steps - count, slot.steps) for slot in slots]
        return [[row[step % BURST_TOKENS] for step in each] for row, each in zip(rows, steps, strict=True)]

    def leave(self, slot: Slot) -> Leave:
        """Let a slot leave whose tokens are all fetched, under a lease on its pages. Its next tokens bring it back."""
        with self._alone():
            assert slot.luggage is None, "it is away already"
            sent = Leave.NO_ROOM if self.away is None else self.away.send(slot.index, slot.pages)
            if isinstance(sent, Leave):
                return sent
            slot.luggage, slot.pages = sent, []
            self._present -= 1
        return Leave.LEFT

    def end(self, slot: Slot) -> None:
        """Give a slot and its pages back; all that was queued for it has been fetched."""
        with self._alone():
            self._close(slot)

    def drop(self, slot: Slot) -> None:
        """Have a slot given back as soon as nobody is in the way. From any thread, and from a finaliser."""
        self._dropped.append(slot)
        if self._lock.acquire(blocking=False):
            try:
                self._close_dropped()
            finally:
                self._lock.release()

    def _check(self, t3: T3Network) -> None:
        assert self.is_captured(t3), "the module is not where it was captured"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock, torch.inference_mode():
            self._close_dropped()
            yield
        if self._dropped:
            self.drop(self._dropped.popleft())

    def _opened(self, rows: int, prompt: int, sampling: Sampling) -> Slot:
        most = prompt + sampling.max_segment_tokens + 1 + BURST_TOKENS
        if most > MAX_POSITIONS:
            raise ServiceError(Reason.ENGINE_FAULT, f"a segment of {most} positions is more than {MAX_POSITIONS}")
        if not self._free:
            raise ServiceError(Reason.AT_CAPACITY, f"{self._slots} segments are being spoken", retry_after_seconds=1.0)
        self._enter()
        ordered, pages = is_ordered(sampling), [list[int]() for _ in range(rows)]
        return Slot(index=self._free.pop(), rows=rows, ordered=ordered, positions=prompt, pages=pages)

    def _enter(self) -> None:
        """Count a slot that is there from now on; the first finds nobody's written."""
        if not self._present:
            self._state.clear(self._start_token)
        self._present += 1

    def _come_back(self, slot: Slot, luggage: Luggage) -> None:
        assert self.away is not None
        slot.pages = self.away.bring(slot.index, luggage)
        slot.luggage = None
        self._enter()
        self._state.set_pages(slot.index, slot.pages)

    def _extend(self, slot: Slot, positions: int) -> None:
        """Take pages for so many positions of every row, after those that it left with if it is away."""
        if slot.luggage is not None:
            self._come_back(slot, slot.luggage)
        missing = -(-positions // PAGE_POSITIONS) - len(slot.pages[0])
        if missing <= 0:
            return
        taken = self._pages.take(missing * slot.rows)
        for row, held in enumerate(slot.pages):
            held.extend(taken[row * missing : row * missing + missing])
        self._state.set_pages(slot.index, slot.pages)

    def _close(self, slot: Slot) -> None:
        if slot.luggage is None:
            self._present -= 1
        elif self.away is not None:
            self.away.forget(slot.luggage)
            slot.luggage = None
        self._pages.give([page for pages in slot.pages for page in pages])
        slot.pages = []
        self._free.append(slot.index)

    def _close_dropped(self) -> None:
        while self._dropped:
            self._close(self._dropped.popleft())

    def __repr__(self) -> str:
        state = "not captured" if self._address is None else f"captured at {self._address:#x}"
        return f"<CapturedT3 {self.model} {self.open_slots} of {self._slots} slots | {state} | {self._passes!r}>"
