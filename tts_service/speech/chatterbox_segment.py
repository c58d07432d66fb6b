"""A segment of Chatterbox's speech: text -> speech tokens -> mel -> waveform, while later tokens are still to come.

Rules
* Three stages, each with its own weights and state, hand over to each other: a chunk of tokens, then the mel that it
  allows, then its waveform. No weights are needed by two stages, so each may leave while another computes.
* The stages may overlap. A chunk ends where the schedule says, whoever waits for it, so that the samples are the same
  however the steps fall. Tokens run ahead by at most the chunk after the one that becomes mel: that is what an
  interruption wastes. In turns, they run to the segment's end, so that T3 comes home once a segment.
* While an utterance's first sound is made, its tokens rest: somebody waits for that sound, and both lanes would compute
  on the same device (H100: 43 ms beside tokens, 26 alone). Not in a crowd, whose tokens are made beside it in any case:
  the second chunk would come too late for who has heard the first.
* A chunk also ends there in a burst that goes beyond it: who shares a burst with whom changes no sample's chunk.
* A cancel is seen before every token and by every stage before its step.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.speech.chatterbox_tokens import TokenStage
from tts_service.speech.company import Company, Decoding, MelWanted, SoundWanted
from tts_service.speech.mel import HELD_FRAMES, MelState, with_tokens
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.segment_setting import SegmentSetting, SharedSpeech
from tts_service.speech.speech_model import Lane, Modules, Sound, Stage
from tts_service.speech.speech_outcome import SpeechOutcome
from tts_service.speech.waveform import WaveformState
from tts_service.types import Segment

CHUNKS_WAITING: Final = 2
"""Chunks of tokens that are not mel yet: the one that is being decoded, and the next."""

CROWD: Final = 4
"""Segments under way beside which an utterance's tokens do not rest for its first sound."""

SOLVER_STEPS: Final = 10
TURBO_SOLVER_STEPS: Final = 2
"""Of the flow, for a chunk (upstream's)."""


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
    def awaits_sound(self) -> bool:
        """Whether its tokens rest: what is to be an utterance's first sound is being made, and there is no crowd."""
        if self.shared.has_sounded or not (self._tokens.chunks or self._mel.pieces):
            return False
        bursts = self.setting.stages.bursts
        return bursts is None or bursts.under_way < CROWD

    @property
    def company(self) -> Company | None:
        """With whom its sound may be made."""
        return self.setting.stages.company if self.joins else None

    @property
    def joins(self) -> bool:
        """Whether its sound may be made together with others'; not in turns, and not if it must be the same bits."""
        return self.chunks_waiting_most is not None and not self.setting.alone

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


class MelStage:
    """Decodes chunks of tokens to mel, and leaves it in `pieces`."""

    lane = Lane.SOUND

    def __init__(self, owner: ChatterboxSegment, before: TokenStage) -> None:
        self.modules = owner.setting.stages.modules.mel
        self.pieces: deque[MelPiece] = deque()
        self.solver_steps = TURBO_SOLVER_STEPS if owner.setting.model is ChatterboxModel.TURBO else SOLVER_STEPS
        self._owner = owner
        self._before = before
        self._state = MelState()
        self.decoding: Decoding | None = None

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
        wanted = self.wanted()
        state, mel = self._owner.setting.stages.mel(
            leased[S3GEN_FLOW], wanted.state, wanted.prompt, wanted.random, final=wanted.final
        )
        self._hand_over(state, mel)

    # --- together with other segments ---------------------------------------------------------------------------

    @property
    def company(self) -> Company | None:
        """With whom its decodes may be made."""
        return self._owner.company

    @property
    def joins(self) -> bool:
        """Whether they may be made in company, if there is any."""
        return self._owner.joins

    @property
    def steps_left(self) -> int | None:
        """Steps of the decode that has a place."""
        return None if self.decoding is None else self.decoding.steps_left

    def begin(self, leased: Modules) -> None:
        """Begin a chunk's decode in a place, or decode it at once if there is none."""
        assert self.company is not None
        assert self.decoding is None
        self.decoding = self.company.begin(leased[S3GEN_FLOW], self.wanted())
        if self.decoding is None:
            self.step(leased)

    def solve(self, stages: Sequence["MelStage"], leased: Modules) -> None:
        """Take a step of each of these stages' decodes."""
        assert self.company is not None
        self.company.solve(leased[S3GEN_FLOW], [each.decoding for each in stages])

    def finish(self, leased: Modules) -> None:
        """Hand the mel over."""
        del leased
        assert self.company is not None
        state, mel = self.company.finished(self.decoding)
        self.decoding = None
        self._hand_over(state, mel)

    def close(self) -> None:
        """Give the place back: what waits is begun anew, if anybody wants it."""
        decoding, self.decoding = self.decoding, None
        if decoding is not None and self.company is not None:
            self.company.drop(decoding)

    def wanted(self) -> MelWanted:
        """Return the next chunk's decode."""
        owner, chunk = self._owner, self._before.chunks[0]
        state, prompt = with_tokens(self._state, chunk.tokens), owner.shared.voice().prompt
        return MelWanted(state=state, prompt=prompt, random=owner.random, final=chunk.final)

    def _hand_over(self, state: MelState, mel: torch.Tensor) -> None:
        """Only after the decode: a step that failed on the way can be made again."""
        chunk, self._state = self._before.chunks[0], state
        *parts, last = _parts(mel, self._owner.setting.stages.reach.sound_frames)
        ahead = [each[:, :HELD_FRAMES] for each in (*parts[1:], last)]
        self.pieces += [MelPiece(mel=each, held=held, final=False) for each, held in zip(parts, ahead, strict=False)]
        self.pieces.append(MelPiece(mel=last, held=state.held, final=chunk.final))
        self._before.chunks.popleft()
        self._owner.shared.tokens_decoded += len(chunk.tokens)

    def __repr__(self) -> str:
        return f"<MelStage {self._state!r} | {len(self.pieces)} pieces wait>"


def _parts(mel: torch.Tensor, most: int | None) -> tuple[torch.Tensor, ...]:
    """Return mel (80, frames) in as few parts of about the same length as there may be, at least one."""
    if most is None or mel.shape[1] <= most:
        return (mel,)
    return mel.tensor_split(-(-mel.shape[1] // most), dim=1)


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
        each = self.wanted()
        sounded = self._owner.setting.stages.sound(
            leased[S3GEN_VOCODER], each.state, each.mel, each.random, ahead=each.ahead, final=each.final
        )
        return self.take(sounded)

    @property
    def company(self) -> Company | None:
        """With whom its sound may be made."""
        return self._owner.company

    def compute(self, stages: Sequence["WaveformStage"], leased: Modules) -> Sequence[tuple[WaveformState, Sound]]:
        """Make the sound of a piece of each of these."""
        assert self.company is not None
        return self.company.sound_all(leased[S3GEN_VOCODER], [each.wanted() for each in stages])

    def take(self, made: tuple[WaveformState, Sound]) -> Sound:
        """Take the sound of a piece of mel."""
        self._state, wave = made
        self._before.pieces.popleft()
        shared = self._owner.shared
        shared.has_sounded = shared.has_sounded or len(wave) > 0
        return wave

    def wanted(self) -> SoundWanted:
        """Return the next piece of mel, as it is to become sound."""
        piece = self._before.pieces[0]
        return SoundWanted(
            state=self._state, mel=piece.mel, random=self._owner.random, ahead=piece.held, final=piece.final
        )

    def __repr__(self) -> str:
        return f"<WaveformStage {self._state!r}>"
