"""A segment of Chatterbox's speech: text -> speech tokens -> mel -> waveform, while later tokens are still to come.

Rules
* Three stages, each with its own weights and state, hand over to each other: a chunk of tokens, then the mel that it
  allows, then its waveform. No weights are needed by two stages, so each may leave while another computes.
* The stages may overlap. A chunk ends where the schedule says, whoever waits for it, so that the samples are the same
  however the steps fall. Tokens run ahead by at most the chunk after the one that becomes mel: that is what an
  interruption wastes. In turns, they run to the segment's end, so that T3 comes home once a segment.
* While an utterance's first sound is made, its tokens rest: somebody waits for that sound, and both lanes would compute
  on the same device (H100: 43 ms beside tokens, 26 alone).
* A cancel is seen before every token and by every stage before its step.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.mel import MelState, with_tokens
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import Sampling
from tts_service.speech.speech_model import Lane, Modules, Sound, SpeechGuard, SpeechOutcome, Stage
from tts_service.speech.speech_tokens import TokenFinish, TokenRequest
from tts_service.speech.stages import Stages, TokenStream
from tts_service.speech.token_guards import token_budget
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.waveform import WaveformState
from tts_service.types import Segment

TOKENS_AT_ONCE: Final = 8
"""Tokens of one step, 0.32 s of speech: a module that is called away waits no longer than for these."""

CHUNKS_WAITING: Final = 2
"""Chunks of tokens that are not mel yet: the one that is being decoded, and the next."""

TURBO_TAIL: Final = (4_299,) * 3
"""Silence that upstream's `ChatterboxTurboTTS.generate` appends (`S3GEN_SIL`), so that the last word is not cut off."""

_GUARDS: Final = {
    TokenFinish.FORCED: SpeechGuard.ALIGNMENT,
    TokenFinish.TOKEN_LIMIT: SpeechGuard.TOKEN_LIMIT,
    TokenFinish.TEXT_BUDGET: SpeechGuard.TEXT_BUDGET,
    TokenFinish.LOOP: SpeechGuard.LOOP,
}


class SharedSpeech(Protocol):
    """What the segments of an utterance share and change: only by steps for tokens, which come one at a time."""

    chunks: int
    has_sounded: bool

    def voice(self) -> VoiceConditionals:
        """Return the voice on the device."""
        ...

    def chunk_tokens(self) -> int:
        """Return how many tokens the next chunk has."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSetting:
    """What a segment is spoken with. `text` gives its tokens, and raises CallerError for a text that cannot be said."""

    model: ChatterboxModel
    device: torch.device
    stages: Stages
    sampling: Sampling
    seed: int
    text: Callable[[], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenChunk:
    """Tokens that are decoded together; `final` says that no token follows."""

    tokens: tuple[int, ...]
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MelPiece:
    """Frozen mel (80, frames) and what is held back behind it, as it looks now."""

    mel: torch.Tensor
    held: torch.Tensor
    final: bool


class ChatterboxSegment:
    """One segment on its way."""

    def __init__(
        self, setting: SegmentSetting, shared: SharedSpeech, segment: Segment, index: int, *, in_turns: bool
    ) -> None:
        self.setting = setting
        self.shared = shared
        self.segment = segment
        self.random = CounterRandom(seed=setting.seed, segment=index, device=setting.device)
        self.chunks_waiting_most = None if in_turns else CHUNKS_WAITING
        self.cancelled = False
        self._tokens = TokenStage(self)
        self._mel = MelStage(self, self._tokens)
        self.stages: Sequence[Stage] = (self._tokens, self._mel, WaveformStage(self, self._mel))

    @property
    def welcomes_next(self) -> bool:
        """Whether its last tokens are being decoded, so that T3 would rest."""
        overlaps = self.chunks_waiting_most is not None and not self.cancelled
        return overlaps and self._tokens.ended and len(self._tokens.chunks) <= 1

    @property
    def opens(self) -> bool:
        """Whether what is to be an utterance's first sound is being made."""
        return not self.shared.has_sounded and bool(self._tokens.chunks or self._mel.pieces)

    @property
    def outcome(self) -> SpeechOutcome:
        """How many tokens it had, and what ended them."""
        return self._tokens.outcome

    def cancel(self) -> None:
        """End before the next token or step; may be called from any thread."""
        self.cancelled = True
        self._tokens.cancel()

    def __repr__(self) -> str:
        return f"<ChatterboxSegment {', '.join(map(repr, self.stages))}>"


class TokenStage:
    """Speaks tokens, and leaves them in `chunks`."""

    lane = Lane.TOKENS

    def __init__(self, owner: ChatterboxSegment) -> None:
        self.modules = owner.setting.stages.modules.tokens
        self.chunks: deque[TokenChunk] = deque()
        self.outcome = SpeechOutcome()
        self._owner = owner
        self._stream: TokenStream | None = None
        self._fresh: list[int] = []
        self._chunks_put = 0
        self._over = False

    @property
    def ended(self) -> bool:
        """Whether no token follows: all chunks are there before this is true."""
        return self._over or self._owner.cancelled

    @property
    def has_step(self) -> bool:
        """Whether it has not run ahead too far."""
        most = self._owner.chunks_waiting_most
        return not self.ended and (most is None or (len(self.chunks) < most and not self._owner.opens))

    def cancel(self) -> None:
        """End before the next token."""
        if self._stream is not None:
            self._stream.cancel()

    def step(self, leased: Modules) -> None:
        """Speak some tokens, and hand them over when they are a chunk."""
        stream, wanted = self._begun(), self._owner.shared.chunk_tokens()
        if self._owner.cancelled:
            return
        self._fresh += stream.advance(leased[T3], min(TOKENS_AT_ONCE, wanted - len(self._fresh)))
        if stream.finish is not None:
            self._note_end(stream, stream.finish)
        if stream.finish is not None or len(self._fresh) >= wanted:
            self._hand_over(final=stream.finish is not None)

    def _begun(self) -> TokenStream:
        setting, owner = self._owner.setting, self._owner
        if self._stream is None:
            request = TokenRequest(
                model=setting.model,
                text=setting.text(),
                voice=owner.shared.voice().tokens,
                sampling=setting.sampling,
                text_budget=token_budget(owner.segment.text),
            )
            self._stream = setting.stages.tokens(request, owner.random)
        return self._stream

    def _note_end(self, stream: TokenStream, finish: TokenFinish) -> None:
        spoken = sum(token < CODEBOOK_TOKENS for token in stream.history)
        self.outcome = SpeechOutcome(speech_tokens=spoken, guard=_GUARDS.get(finish))
        if self._owner.setting.model is ChatterboxModel.TURBO and spoken:
            self._fresh += TURBO_TAIL

    def _hand_over(self, *, final: bool) -> None:
        if self._fresh or self._chunks_put:
            self.chunks.append(TokenChunk(tokens=tuple(self._fresh), final=final))
            self._fresh = []
            self._chunks_put += 1
            self._owner.shared.chunks += 1
        self._over = final

    def __repr__(self) -> str:
        state = "ended" if self.ended else f"{len(self._fresh)} fresh"
        return f"<TokenStage {state} | {len(self.chunks)} chunks wait>"


class MelStage:
    """Decodes chunks of tokens to mel, and leaves it in `pieces`."""

    lane = Lane.SOUND

    def __init__(self, owner: ChatterboxSegment, before: TokenStage) -> None:
        self.modules = owner.setting.stages.modules.mel
        self.pieces: deque[MelPiece] = deque()
        self._owner = owner
        self._before = before
        self._state = MelState()

    @property
    def ended(self) -> bool:
        """Whether no mel follows: all of it is there before this is true."""
        # In this order: what the stage before has left is there once it has ended.
        return (self._before.ended and not self._before.chunks) or self._owner.cancelled

    @property
    def has_step(self) -> bool:
        """Whether a chunk waits."""
        return bool(self._before.chunks) and not self._owner.cancelled

    def step(self, leased: Modules) -> None:
        """Decode a chunk."""
        owner, chunk = self._owner, self._before.chunks[0]
        state, prompt = with_tokens(self._state, chunk.tokens), owner.shared.voice().prompt
        self._state, mel = owner.setting.stages.mel(leased[S3GEN_FLOW], state, prompt, owner.random, final=chunk.final)
        self.pieces.append(MelPiece(mel=mel, held=self._state.held, final=chunk.final))
        # Only now: a step that failed on the way can be made again.
        self._before.chunks.popleft()

    def __repr__(self) -> str:
        return f"<MelStage {self._state!r} | {len(self.pieces)} pieces wait>"


class WaveformStage:
    """Makes the mel's sound."""

    lane = Lane.SOUND

    def __init__(self, owner: ChatterboxSegment, before: MelStage) -> None:
        self.modules = owner.setting.stages.modules.sound
        self._owner = owner
        self._before = before
        self._state = WaveformState()

    @property
    def ended(self) -> bool:
        """Whether no sound follows."""
        return (self._before.ended and not self._before.pieces) or self._owner.cancelled

    @property
    def has_step(self) -> bool:
        """Whether mel waits."""
        return bool(self._before.pieces) and not self._owner.cancelled

    def step(self, leased: Modules) -> Sound:
        """Make the sound (samples,) of a piece of mel, as far as it is ready."""
        owner, piece = self._owner, self._before.pieces[0]
        self._state, wave = owner.setting.stages.sound(
            leased[S3GEN_VOCODER], self._state, piece.mel, owner.random, ahead=piece.held, final=piece.final
        )
        self._before.pieces.popleft()
        owner.shared.has_sounded = owner.shared.has_sounded or len(wave) > 0
        return wave

    def __repr__(self) -> str:
        return f"<WaveformStage {self._state!r}>"
