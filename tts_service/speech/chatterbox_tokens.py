"""A segment's speech tokens: computed alone or in bursts with other segments', and cut into chunks.

Rules
* Where a chunk ends follows from the schedule and the tokens alone. A burst that goes beyond a chunk's end leaves the
  rest to the next one.
* Only `cancel` is for any thread; what `has_step`, `ended` and `need` say may be asked by the lane's owner at any time.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from tts_service.errors import GreenroomError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.mel import fitting_tokens
from tts_service.speech.segment_setting import TokenOwner
from tts_service.speech.speech_model import Lane, Modules, TokenNeed, TokensMade
from tts_service.speech.speech_outcome import SpeechGuard, SpeechOutcome
from tts_service.speech.speech_tokens import TokenFinish, TokenRequest
from tts_service.speech.stages import JoinedTokens, TokenStream
from tts_service.speech.token_guards import token_budget
from tts_service.speech.token_rest import TokenRest

TOKENS_AT_ONCE: Final = 8
"""Tokens of one step, 0.32 s of speech: a module that is called away waits no longer than for these."""

TURBO_TAIL: Final = (4_299,) * 3
"""Silence that upstream's `ChatterboxTurboTTS.generate` appends (`S3GEN_SIL`), so that the last word is not cut off."""

LAST_TOKENS: Final = 1 + len(TURBO_TAIL)
"""What a segment's last chunk may have beyond others."""

LEAST_TOKENS: Final = 25
"""Chunks are not cut shorter to fit."""

_GUARDS: Final = {
    TokenFinish.FORCED: SpeechGuard.ALIGNMENT,
    TokenFinish.TOKEN_LIMIT: SpeechGuard.TOKEN_LIMIT,
    TokenFinish.TEXT_BUDGET: SpeechGuard.TEXT_BUDGET,
    TokenFinish.LOOP: SpeechGuard.LOOP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChunk:
    """Tokens that are decoded together; `final` says that no token follows."""

    tokens: tuple[int, ...]
    final: bool


class TokenStage:
    """Speaks tokens, and leaves them in `chunks`."""

    lane = Lane.TOKENS

    def __init__(self, owner: TokenOwner) -> None:
        self.modules = owner.setting.stages.modules.tokens
        self.chunks: deque[TokenChunk] = deque()
        self.outcome = SpeechOutcome()
        self._owner = owner
        self.stream: TokenStream | None = None
        self._bursts = owner.setting.stages.bursts
        self._fresh: list[int] = []
        self._has_begun = False
        self._chunks_put = 0
        self._cut = 0
        self._prompt_tokens = 0
        self._over = False

    @property
    def ended(self) -> bool:
        """Whether no token follows: all chunks are there before this is true."""
        return self._over or self._owner.cancelled

    @property
    def has_step(self) -> bool:
        """Whether it has not run ahead too far."""
        most = self._owner.chunks_waiting_most
        return not self.ended and (most is None or (len(self.chunks) < most and not self._owner.awaits_sound))

    def cancel(self) -> None:
        """End before the next token."""
        if self.stream is not None:
            self.stream.cancel()

    def step(self, leased: Modules) -> None:
        """Speak some tokens, and hand them over when they are a chunk."""
        self._advance(leased, TOKENS_AT_ONCE)

    def _advance(self, leased: Modules, most: int) -> None:
        stream, left = self._opened(), self._left()
        if self._owner.cancelled:
            return
        tokens = stream.advance(leased[T3], min(most, left))
        self._has_begun = True
        self._add(stream, tokens)

    # --- together with other segments ---------------------------------------------------------------------------

    @property
    def together(self) -> object:
        """What computes tokens for several at once; None in turns, where each has T3 for itself."""
        return self._bursts if self._owner.chunks_waiting_most is not None else None

    @property
    def free_places(self) -> int:
        """How many segments more may begin."""
        return 0 if self._bursts is None else self._bursts.free

    @property
    def most_together(self) -> int:
        """How many may have a burst together."""
        return 1 if self._bursts is None else self._bursts.most

    @property
    def need(self) -> TokenNeed | None:
        """What it asks for."""
        if not self.has_step:
            return None
        shared = self._owner.shared
        left = self._left()
        return TokenNeed(
            rows=2 if self._owner.setting.sampling.cfg_weight > 0.0 else 1,
            left=left,
            room=left if self.chunks else left + shared.chunk_tokens(1),
            ahead=shared.tokens_cut - shared.tokens_decoded,
            begun=self._has_begun,
            alone=self._owner.setting.alone,
        )

    def begin(self, leased: Modules) -> None:
        """Read the prompt, and speak the first token."""
        self._advance(leased, 1)

    def burst(self, stages: Sequence["TokenStage"], leased: Modules, count: int) -> Sequence[TokensMade]:
        """Speak so many tokens of each."""
        assert self._bursts is not None
        return self._bursts.burst(leased[T3], [each.stream for each in stages], count)

    def take(self, made: TokensMade, leased: Modules) -> None:
        """Take its part of a burst."""
        if isinstance(made, GreenroomError):
            raise made
        if not self._owner.cancelled:
            stream = cast("JoinedTokens", self.stream)
            self._add(stream, stream.take(made, leased[T3]))

    def close(self, *, over: bool = False) -> None:
        """Give slot and pages back, if nobody wants the rest: it was cancelled, or its order is over."""
        if (over or self._owner.cancelled) and self._bursts is not None and self.stream is not None:
            cast("JoinedTokens", self.stream).close()

    @property
    def rest(self) -> TokenRest | None:
        """What may leave while nobody asks for its tokens; nothing before it has begun, nor in turns."""
        modules = self.modules - {T3}
        # Without any, pages are in nobody's memory but the process's own: where nothing moves, nothing is gained.
        if not modules or self._bursts is None or self.together is None or not self._has_begun or self.stream is None:
            return None
        ahead = self._owner.shared.tokens_cut - self._owner.shared.tokens_decoded
        return TokenRest(self._bursts, cast("JoinedTokens", self.stream), modules, ahead)

    # --- tokens to chunks ---------------------------------------------------------------------------------------

    def _opened(self) -> TokenStream:
        setting, owner = self._owner.setting, self._owner
        if self.stream is None:
            request = TokenRequest(
                model=setting.model,
                text=setting.text(),
                voice=owner.shared.voice().tokens,
                sampling=setting.sampling,
                text_budget=token_budget(owner.segment.text),
            )
            self.stream = setting.stages.tokens(request, owner.random)
            self._prompt_tokens = len(owner.shared.voice().prompt.tokens)
        return self.stream

    def _chunk_tokens(self) -> int:
        """Return how many tokens the next chunk has: what the schedule says, or what a decode has room for."""
        scheduled, most = self._owner.shared.chunk_tokens(), self._owner.setting.stages.reach.decode_frames
        if most is None:
            return scheduled
        room = fitting_tokens(most, self._prompt_tokens, self._cut) - LAST_TOKENS - self._owner.shared.tail_tokens()
        # A prompt that leaves next to nothing has decodes without a graph; cutting more would not change that.
        return min(scheduled, room) if room >= LEAST_TOKENS else scheduled

    def _left(self) -> int:
        """Return how many tokens more the next chunk waits for."""
        return self._chunk_tokens() + self._owner.shared.tail_tokens() - len(self._fresh)

    def _add(self, stream: TokenStream, tokens: Sequence[int]) -> None:
        """Hand over what are chunks now. The token that ends a segment is in the same chunk as those before it."""
        finish = stream.finish
        self._fresh += tokens
        ends_with_token = finish is not None and bool(stream.history) and stream.history[-1] < CODEBOOK_TOKENS
        while self._left() + ends_with_token <= 0:
            self._hand_over(self._chunk_tokens(), final=False)
        if finish is not None:
            self._note_end(stream, finish)
            self._hand_over(len(self._fresh), final=True)

    def _note_end(self, stream: TokenStream, finish: TokenFinish) -> None:
        spoken = sum(token < CODEBOOK_TOKENS for token in stream.history)
        self.outcome = SpeechOutcome(speech_tokens=spoken, guard=_GUARDS.get(finish))
        if self._owner.setting.model is ChatterboxModel.TURBO and spoken:
            self._fresh += TURBO_TAIL

    def _hand_over(self, count: int, *, final: bool) -> None:
        if self._fresh or self._chunks_put:
            self.chunks.append(TokenChunk(tokens=tuple(self._fresh[:count]), final=final))
            self._fresh = self._fresh[count:]
            self._chunks_put += 1
            self._owner.shared.chunks += 1
            self._owner.shared.tokens_cut += count
            self._cut += count
        self._over = final

    def __repr__(self) -> str:
        return f"<TokenStage {'ended' if self.ended else f'{len(self._fresh)} fresh'} | {len(self.chunks)} chunks wait>"
