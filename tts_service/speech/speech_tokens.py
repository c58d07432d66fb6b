"""The speech tokens of one segment: our own decode loop over upstream's T3, one token a step.

Rules
* A step is given the leased module and computes one token. Between steps nothing of the module is held: its weights may
  move away and come back. All that a segment changes is in its stream, so streams on one network know nothing of each
  other, and nothing stays on the network.
* The cancel flag is read before every token.
* Tokens outside the codebook (start, stop and unused ones) are part of the history, as they are for upstream, but never
  come out: S3Gen would look up what is not there.
* English and Multilingual end at the first stop token. Turbo does not look whether its first token is one, and makes up
  to one token more than its limit. Both are upstream's rules.
* Upstream drops what precedes a start token among the speech; a stream has already played it, so here only the token is
  dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch

from tts_service.errors import Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.alignment_guard import ALIGNED_HEADS, AlignmentState, StopRule, follow, glance, ruled
from tts_service.speech.random_source import RandomSource
from tts_service.speech.sampling import Sampling, check_sampling, guided, weighed
from tts_service.speech.token_backbone import T3Network, run_backbone
from tts_service.speech.token_cache import KeyValueCache
from tts_service.speech.token_guards import LoopWatch
from tts_service.speech.token_prompt import TokenVoice, prompt_embeddings, token_embedding


class TokenFinish(Enum):
    """Why a segment's tokens ended."""

    STOPPED = "stopped"
    """The network said so."""
    FORCED = "forced"
    """Multilingual's alignment guard made it say so: a long tail, a repetition, or one token twice."""
    TOKEN_LIMIT = "token_limit"  # noqa: S105  # No password.
    """As many tokens as the request allows."""
    TEXT_BUDGET = "text_budget"
    """More tokens than the text can need."""
    LOOP = "loop"
    """The tokens repeated themselves."""
    CANCELLED = "cancelled"
    FAILED = "failed"
    """The network computed no numbers; the step that found out has raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """One segment's speech: the model, its text (tokens,), the voice and the settings, which are checked here.

    A voice that is on a device has been checked before (`check_voice`).

    `text_budget` (see `token_guards`) ends what runs on, `watch_loops` what repeats itself; without them, upstream's
    rules alone hold.
    """

    model: ChatterboxModel
    text: torch.Tensor
    voice: TokenVoice
    sampling: Sampling
    text_budget: int | None = None
    watch_loops: bool = True

    def __post_init__(self) -> None:
        check_sampling(self.sampling, self.model)
        assert self.text_budget is None or self.text_budget > 0
        if self.voice.tokens.device.type == "cpu":
            check_voice(self.voice)


def check_voice(voice: TokenVoice) -> None:
    """Raise ENGINE_FAULT for a voice whose speech tokens are in no codebook: on a device, that would end the process.

    It is to be called before a voice goes to a device: there, the host would wait for the answer with every prompt.
    """
    if not bool(((voice.tokens >= 0) & (voice.tokens < CODEBOOK_TOKENS)).all()):
        raise ServiceError(Reason.ENGINE_FAULT, "the voice has speech tokens outside the codebook")


def token_limit(request: TokenRequest) -> int:
    """Return how many tokens a segment has at most, whatever they are."""
    return request.sampling.max_segment_tokens + (1 if request.model is ChatterboxModel.TURBO else 0)


def finish_after(
    request: TokenRequest, count: int, token: int, stop_token: int, loops: LoopWatch, *, forced: bool
) -> TokenFinish | None:
    """Say why a segment ends with this token, its `count`th, if it does; `loops` takes every token that goes on.

    `forced`: the alignment guard has made the network say it.
    """
    first_of_turbo = request.model is ChatterboxModel.TURBO and count == 1
    if token == stop_token and not first_of_turbo:
        return TokenFinish.FORCED if forced else TokenFinish.STOPPED
    if request.watch_loops and loops.looping(token):
        return TokenFinish.LOOP
    if request.text_budget is not None and count >= request.text_budget:
        return TokenFinish.TEXT_BUDGET
    return TokenFinish.TOKEN_LIMIT if count >= token_limit(request) else None


class SpeechTokens:
    """One segment's tokens on their way. `finish` is None until they have ended."""

    def __init__(self, request: TokenRequest, random: RandomSource) -> None:
        self.finish: TokenFinish | None = None
        self.history: list[int] = []
        self._request = request
        self._random = random
        self._cache = KeyValueCache()
        self._kept_positions = 0
        self._cancelled = False
        self._rows = 2 if request.sampling.cfg_weight > 0 else 1
        self._said = torch.zeros(0, dtype=torch.bool)
        self._text_span = (0, 0)
        self._alignment = AlignmentState(text_tokens=len(request.text))
        self._rule = StopRule.FREE
        self._loops = LoopWatch()

    def cancel(self) -> None:
        """End before the next token; may be called from any thread."""
        self._cancelled = True

    def step(self, t3: T3Network) -> int | None:
        """Compute one token under a lease; return it if S3Gen is to have it. Only while `finish` is None.

        ENGINE_FAULT if the logits are no numbers; the stream cannot go on then.
        """
        assert self.finish is None, "the tokens have ended"
        if self._cancelled:
            self._end(TokenFinish.CANCELLED)
            return None
        with torch.inference_mode():
            logits, alignment, rule = self._logits(t3)
            token = self._choose(t3, logits)
            # Only now: a step that failed on the way can be made again.
            self._kept_positions, self._alignment, self._rule = self._cache.positions, alignment, rule
            self.history.append(token)
            self._remember(token, t3.hp.start_speech_token)
        finish = finish_after(
            self._request,
            len(self.history),
            token,
            t3.hp.stop_speech_token,
            self._loops,
            forced=self._rule is StopRule.FORCED,
        )
        if finish is not None:
            self._end(finish)
        return token if token < CODEBOOK_TOKENS else None

    def advance(self, t3: T3Network, most: int) -> list[int]:
        """Compute at most so many tokens under a lease; return those that S3Gen is to have."""
        given = []
        for _ in range(most):
            token = self.step(t3)
            if token is not None:
                given.append(token)
            if self.finish is not None:
                break
        return given

    def tokens(self, t3: T3Network) -> Iterator[int]:
        """Yield what is left for S3Gen, for callers whose module stays where it is."""
        while self.finish is None:
            token = self.step(t3)
            if token is not None:
                yield token

    def _logits(self, t3: T3Network) -> tuple[torch.Tensor, AlignmentState, StopRule]:
        """Return the next token's logits (vocabulary,), float32, after guidance and the alignment guard, and its state.

        Multilingual alone has an alignment guard.
        """
        watched = ALIGNED_HEADS if self._request.model is ChatterboxModel.MULTILINGUAL else ()
        embeddings = self._embeddings(t3)
        self._cache.positions = self._kept_positions
        hidden, attentions = run_backbone(t3, embeddings, self._cache, watched)
        logits = guided(t3.speech_head(hidden).float(), self._request.sampling.cfg_weight)
        if not watched:
            return logits, self._alignment, StopRule.FREE
        last_token = self.history[-1] if self.history else t3.hp.start_speech_token
        alignment, rule = follow(self._alignment, glance(attentions, self._text_span, len(self.history)), last_token)
        return ruled(logits, rule, t3.hp.stop_speech_token), alignment, rule

    def _embeddings(self, t3: T3Network) -> torch.Tensor:
        """Return what the network reads next: everything before the first token, then the last token."""
        if self.history:
            return token_embedding(t3, self.history[-1], position=len(self.history), rows=self._rows)
        request = self._request
        embeddings, self._text_span = prompt_embeddings(
            t3,
            request.voice,
            request.text,
            exaggeration=request.sampling.exaggeration,
            cfg_weight=request.sampling.cfg_weight,
        )
        return embeddings

    def _choose(self, t3: T3Network, logits: torch.Tensor) -> int:
        if not self.history:
            self._said = torch.zeros_like(logits, dtype=torch.bool)
            self._said[t3.hp.start_speech_token] = True
        weights = weighed(logits, self._said, self._request.sampling, self._request.model)
        token = self._random.choose_token(weights, len(self.history))
        # One transfer for the choice and for whether there was anything to choose from.
        chosen = int(torch.where(torch.isfinite(weights.max()), token, -1))
        if chosen < 0:
            self._end(TokenFinish.FAILED)
            raise ServiceError(
                Reason.ENGINE_FAULT, "the speech token network computed no numbers: are its weights damaged?"
            )
        return chosen

    def _remember(self, token: int, start_token: int) -> None:
        """Mark a token as said. Turbo then no longer counts the start token."""
        if self._request.model is ChatterboxModel.TURBO and len(self.history) == 1:
            self._said[start_token] = False
        self._said[token] = True

    def _end(self, finish: TokenFinish) -> None:
        """Keep the reason and let the memory go."""
        self.finish = finish
        self._cache = KeyValueCache()
        self._said = self._said[:0]

    def __repr__(self) -> str:
        state = "going on" if self.finish is None else self.finish.value
        return f"<SpeechTokens {self._request.model} {len(self.history)} tokens, {state} | {self._cache!r}>"
