"""The speech tokens of one segment, as captured T3 makes them: what `speech_tokens` is, a burst at a time.

Rules
* What a token means is `speech_tokens`' business, and its rules hold here token by token. A burst computes on after the
  last one; what it then holds is dropped.
* The slot and its pages go back at the end, whatever the end is; also when nobody asks for the stream any more.
* Between two bursts the module may go away and come back to its addresses.
"""

import weakref

import torch

from tts_service.errors import Reason, ServiceError
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.captured.t3_captured import CapturedT3, Slot
from tts_service.speech.captured.t3_state import BURST_TOKENS, FAULT, FORCED
from tts_service.speech.random_source import CounterRandom
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
        tokens = self._burst(t3, min(most, BURST_TOKENS, left))
        return [token for token in self._taken(tokens, t3.hp.stop_speech_token) if token < CODEBOOK_TOKENS]

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

    def _taken(self, tokens: list[int], stop_token: int) -> list[int]:
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
