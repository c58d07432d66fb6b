"""The speech tokens of one segment, as captured T3 makes them: what `speech_tokens` is, a burst at a time.

Rules
* What a token means is `speech_tokens`' business, and its rules hold here token by token. A burst computes on after the
  last one; what it then holds is dropped.
* The slot and its pages go back at the end, whatever the end is; also when nobody asks for the stream any more.
* Between two bursts the module may go away and come back to its addresses.
* Streams of one network may have their bursts together (`CapturedBursts`), each from its second token on. What goes
  wrong for one of them is its own.
"""

import weakref
from collections.abc import Sequence

import torch

from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.captured.t3_captured import CapturedT3, Slot
from tts_service.speech.captured.t3_state import BURST_TOKENS, FAULT, FORCED
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.resting import Leave
from tts_service.speech.speech_tokens import TokenFinish, TokenRequest, finish_after, token_limit
from tts_service.speech.token_backbone import T3Network
from tts_service.speech.token_guards import LoopWatch
from tts_service.speech.token_prompt import embeddings_after


class CapturedTokens:
    """One segment's tokens on their way. `finish` is None until they have ended."""

    def __init__(self, request: TokenRequest, random: CounterRandom, captured: CapturedT3) -> None:
        assert request.model is captured.model
        self.finish: TokenFinish | None = None
        self.history: list[int] = []
        self._request = request
        self._random = random
        self._captured = captured
        self._slot: Slot | None = None
        self._finaliser: weakref.finalize[..., CapturedTokens] | None = None
        self._cancelled = False
        self._loops = LoopWatch()

    def cancel(self) -> None:
        """End before the next burst; may be called from any thread."""
        self._cancelled = True

    def advance(self, t3: T3Network, most: int = BURST_TOKENS) -> list[int]:
        """Compute up to so many tokens (8 at most) under a lease; return those that S3Gen is to have.

        Only while `finish` is None. AT_CAPACITY and DEVICE_MEMORY leave the stream as it was, to be tried again. After
        ENGINE_FAULT (the logits are no numbers) it has ended.
        """
        assert self.finish is None, "the tokens have ended"
        assert most > 0
        if self._cancelled:
            self._end(TokenFinish.CANCELLED)
            return []
        left = token_limit(self._request) - len(self.history)
        return self.take(self._burst(t3, min(most, BURST_TOKENS, left)), t3)

    def reserve(self, count: int) -> Slot:
        """Return its slot, with the pages for so many more tokens. DEVICE_MEMORY without them; then it is as it was.

        ENGINE_FAULT for one whose last burst nobody has taken: that is its own, and no other stream's.
        """
        assert self.finish is None
        assert self._slot is not None, "its prompt has not been read"
        if self._slot.steps != len(self.history):
            raise ServiceError(Reason.ENGINE_FAULT, "the tokens of a segment's last burst were not taken")
        self._captured.reserve(self._slot, count)
        return self._slot

    def take(self, tokens: Sequence[int], t3: T3Network) -> list[int]:
        """Take the tokens of a burst as they were chosen; return those that S3Gen is to have. Raises ENGINE_FAULT."""
        return [token for token in self._taken(tokens, t3.hp.stop_speech_token) if token < CODEBOOK_TOKENS]

    @property
    def has_pages(self) -> bool:
        """Whether it has pages of keys and values on the device."""
        slot = self._slot
        return slot is not None and slot.luggage is None

    @property
    def is_away(self) -> bool:
        """Whether its keys and values wait on the host."""
        slot = self._slot
        return slot is not None and slot.luggage is not None

    def leave(self) -> Leave:
        """Have its keys and values wait on the host until its next tokens. Not within a burst."""
        slot = self._slot
        if slot is None or slot.luggage is not None or slot.steps != len(self.history):
            return Leave.NO_ROOM
        return self._captured.leave(slot)

    def close(self) -> None:
        """Give slot and pages back, if they are held: nobody wants the rest. Not within a burst."""
        if self.finish is None:
            self._end(TokenFinish.CANCELLED)

    def _burst(self, t3: T3Network, count: int) -> list[int]:
        """Return the next so many tokens as they were chosen."""
        slot = self._slot or self._begun(t3, count)
        ahead = len(self.history) + count - slot.steps
        if ahead > 0:
            self._captured.queue(t3, [slot], ahead)
        return self._captured.fetch([slot], count)[0]

    def _begun(self, t3: T3Network, count: int) -> Slot:
        request = self._request
        with torch.inference_mode():
            voiced = self._captured.voiced(t3, request.voice, request.sampling.exaggeration)
            embeddings, text_span = embeddings_after(t3, voiced, request.text, cfg_weight=request.sampling.cfg_weight)
        slot = self._captured.begin(
            t3, embeddings, text_span=text_span, sampling=request.sampling, key=self._random.token_key, burst=count
        )
        self._slot, self._finaliser = slot, weakref.finalize(self, self._captured.drop, slot)
        return slot

    def _taken(self, tokens: Sequence[int], stop_token: int) -> list[int]:
        """Return the tokens up to the end, which are now history."""
        for place, marked in enumerate(tokens):
            if marked == FAULT:
                self._end(TokenFinish.FAILED)
                raise ServiceError(
                    Reason.ENGINE_FAULT, "the speech token network computed no numbers: are its weights damaged?"
                )
            forced, token = divmod(marked, FORCED)
            self.history.append(token)
            finish = finish_after(self._request, len(self.history), token, stop_token, self._loops, forced=bool(forced))
            if finish is not None:
                self._end(finish)
                return [each % FORCED for each in tokens[: place + 1]]
        return [each % FORCED for each in tokens]

    def _end(self, finish: TokenFinish) -> None:
        """Keep the reason and give slot and pages back."""
        self.finish = finish
        if self._finaliser is not None and self._finaliser.detach() and self._slot is not None:
            self._captured.end(self._slot)
        self._slot = None

    def __repr__(self) -> str:
        state = "going on" if self.finish is None else self.finish.value
        return f"<CapturedTokens {self._request.model} {len(self.history)} tokens, {state}>"


class CapturedBursts:
    """Bursts of several streams of one network in the same passes."""

    def __init__(self, captured: CapturedT3) -> None:
        self._captured = captured

    @property
    def most(self) -> int:
        """How many streams may have a burst together."""
        return self._captured.most_at_once

    @property
    def free(self) -> int:
        """How many streams more may begin."""
        return self._captured.free_slots

    @property
    def under_way(self) -> int:
        """How many streams have begun and are not over."""
        return self._captured.open_slots

    def forget_room(self) -> None:
        """Give the system the host memory that nobody waits in."""
        if self._captured.away is not None:
            self._captured.away.forget_room()

    def burst(self, t3: T3Network, streams: Sequence[CapturedTokens], count: int) -> list[list[int] | GreenroomError]:
        """Compute so many tokens (8 at most) of each stream, under a lease.

        Return for each what `CapturedTokens.take` is to have, or what it lacks: then it is as it was.
        """
        found: list[list[int] | GreenroomError] = []
        slots: list[Slot] = []
        for stream in streams:
            try:
                slots.append(stream.reserve(count))
                found.append([])
            except GreenroomError as error:
                found.append(error)
        if not slots:
            return found
        self._captured.queue(t3, slots, count)
        made = iter(self._captured.fetch(slots, count))
        return [each if isinstance(each, GreenroomError) else next(made) for each in found]

    def __repr__(self) -> str:
        return f"<CapturedBursts over {self._captured!r}>"
