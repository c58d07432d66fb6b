"""Chatterbox's segments and stages over networks that compute nothing: what is left is the service's own Python.

Tokens, mel, sound and marks come as fast as they are asked for, or after `busy_seconds` for each piece of work, during
which Python's lock is free, as while a device is waited for.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.speech.chatterbox_segment import SOLVER_STEPS, TURBO_SOLVER_STEPS
from tts_service.speech.chatterbox_speech import ChatterboxSpeech
from tts_service.speech.company import MelWanted, SoundWanted
from tts_service.speech.mel import MelState
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.resting import Leave
from tts_service.speech.speech_model import PrepareStep
from tts_service.speech.speech_tokens import TokenFinish, TokenRequest
from tts_service.speech.stages import StageModules, StageReach
from tts_service.speech.token_prompt import TokenVoice
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.waveform import WaveformState
from tts_service.types import WATERMARK_ENCODER, ModuleName, Segment, Waveform

SCRATCH_TOKENS: Final = ModuleName("scratch.t3")
SCRATCH_SOUND: Final = ModuleName("scratch.s3gen")
SCRATCH_COMPANY: Final = ModuleName("scratch.company")
MODULES: Final = (
    T3,
    S3GEN_FLOW,
    S3GEN_VOCODER,
    SCRATCH_TOKENS,
    SCRATCH_SOUND,
    SCRATCH_COMPANY,
    WATERMARK_ENCODER,
)
SEGMENT_TOKENS: Final = 120
"""A sentence of 5 s."""
PLACES: Final = 16
TOGETHER: Final = 64
SAMPLES_PER_TOKEN: Final = 960

_CPU = torch.device("cpu")
_MEL = torch.zeros(80, 2)
_TEXT = torch.zeros(1, dtype=torch.long)
_VOICE = VoiceConditionals(
    tokens=TokenVoice(speaker=torch.zeros(1, 256), tokens=torch.zeros(1, 150, dtype=torch.long)),
    prompt=MelPrompt(tokens=torch.zeros(250, dtype=torch.long), mel=torch.zeros(80, 500), speaker=torch.zeros(1, 192)),
)


class IdleTokens:
    """A segment's tokens: so many zeros."""

    has_pages = True
    is_away = False

    def __init__(self) -> None:
        self.finish: TokenFinish | None = None
        self.history: list[int] = []

    def advance(self, t3: Any, most: int) -> list[int]:
        """Return the next ones."""
        return self.take([0] * most, t3)

    def take(self, tokens: Sequence[int], t3: Any) -> list[int]:
        """Take some, up to the last."""
        del t3
        taken = list(tokens[: SEGMENT_TOKENS - len(self.history)])
        self.history += taken
        if len(self.history) == SEGMENT_TOKENS:
            self.finish = TokenFinish.STOPPED
        return taken

    def cancel(self) -> None:
        """End."""
        self.finish = TokenFinish.CANCELLED

    def leave(self) -> Leave:
        """Stay."""
        return Leave.NO_ROOM

    def close(self) -> None:
        """Hold nothing."""

    def __repr__(self) -> str:
        return f"<IdleTokens {len(self.history)}>"


class IdleDecoding:
    """A decode that has a place."""

    def __init__(self, wanted: MelWanted, steps: int) -> None:
        self.wanted = wanted
        self.steps_left = steps

    def __repr__(self) -> str:
        return f"<IdleDecoding {self.steps_left} steps left>"


class IdleMarks:
    """Marks all that is written at once."""

    def __init__(self, company: "IdleCompany") -> None:
        self.modules = frozenset({WATERMARK_ENCODER, SCRATCH_SOUND})
        self.company = company
        self._written: list[Any] = []

    @property
    def ready(self) -> bool:
        """Whether anything was written."""
        return bool(self._written)

    def write(self, samples: Any) -> None:
        """Take sound."""
        self._written.append(samples)

    def pause(self, count: int) -> None:
        """Take a pause."""
        self._written.append(np.zeros(count, np.float32))

    def next_blocks(self, encoder: Any) -> Waveform | None:
        """Return what was written."""
        del encoder
        written, self._written = self._written, []
        return np.concatenate(written) if written else None

    def finish(self) -> None:
        """Withhold nothing in any case."""

    def __repr__(self) -> str:
        return f"<IdleMarks {len(self._written)} pieces>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """How long pieces of work take without Python's lock."""

    token_seconds: float = 0.0
    """A burst or a prompt."""
    sound_seconds: float = 0.0
    """A step of the solver, an encode, waveforms or marks."""


class IdleStages:
    """All that computes, alone and together."""

    reach = StageReach()
    most = TOGETHER
    free = TOGETHER
    under_way = TOGETHER

    def __init__(self, solver_steps: int, busy: Busy) -> None:
        self.modules = StageModules(
            tokens=frozenset({T3, SCRATCH_TOKENS}),
            mel=frozenset({S3GEN_FLOW, SCRATCH_SOUND}),
            sound=frozenset({S3GEN_VOCODER, SCRATCH_SOUND}),
            marks=frozenset({WATERMARK_ENCODER, SCRATCH_SOUND}),
        )
        self.bursts = self
        self.company = IdleCompany(solver_steps, busy, PLACES)
        self._busy = busy

    def tokens(self, request: TokenRequest, random: Any) -> IdleTokens:
        """Begin a segment's tokens."""
        del request, random
        return IdleTokens()

    def burst(self, t3: Any, streams: Sequence[Any], count: int) -> list[list[int]]:
        """Return so many tokens for each."""
        del t3
        wait(self._busy.token_seconds)
        return [[0] * count for _ in streams]

    def forget_room(self) -> None:
        """Have none."""

    def mel(
        self, flow: Any, state: MelState, prompt: MelPrompt, random: Any, *, final: bool
    ) -> tuple[MelState, torch.Tensor]:
        """Decode by itself."""
        del flow, prompt, random, final
        wait(self._busy.sound_seconds)
        return state, _MEL

    def sound(self, vocoder: Any, state: WaveformState, mel: torch.Tensor, random: Any, **_: Any) -> Any:
        """Make sound by itself."""
        del vocoder, mel, random
        wait(self._busy.sound_seconds)
        return state, _SOUND

    def marks(self, *, alone: bool = False) -> Any:
        """Begin to mark."""
        del alone
        return IdleMarks(self.company)

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return nothing."""
        return ()

    def __repr__(self) -> str:
        return "<IdleStages>"


_SOUND: Final = np.full(25 * SAMPLES_PER_TOKEN, 0.5, np.float32)
"""A second."""


class IdleCompany:
    """Sound of several segments."""

    def __init__(self, solver_steps: int, busy: Busy, places: int) -> None:
        self.modules = frozenset({SCRATCH_COMPANY})
        self._solver_steps = solver_steps
        self._busy = busy
        self._free = places

    def begin(self, flow: Any, wanted: MelWanted) -> IdleDecoding | None:
        """Take a place."""
        del flow
        if not self._free:
            return None
        self._free -= 1
        return IdleDecoding(wanted, self._solver_steps)

    def solve(self, flow: Any, decodes: Sequence[IdleDecoding]) -> None:
        """Take a step."""
        del flow
        wait(self._busy.sound_seconds)
        for each in decodes:
            each.steps_left -= 1

    def finished(self, decode: IdleDecoding) -> tuple[MelState, torch.Tensor]:
        """Return mel, whatever the tokens."""
        self._free += 1
        return decode.wanted.state, _MEL

    def drop(self, decode: IdleDecoding) -> None:
        """Free a place."""
        del decode
        self._free += 1

    def sound_all(self, vocoder: Any, pieces: Sequence[SoundWanted]) -> Sequence[Any]:
        """Return a second of sound for each."""
        del vocoder
        wait(self._busy.sound_seconds)
        return [(each.state, _SOUND) for each in pieces]

    def next_of_all(self, encoder: Any, streams: Sequence[IdleMarks]) -> Sequence[Waveform | None]:
        """Mark."""
        wait(self._busy.sound_seconds)
        return [each.next_blocks(encoder) for each in streams]

    def __repr__(self) -> str:
        return f"<IdleCompany {self._free} places free>"


class IdleSpeech(ChatterboxSpeech):
    """The model; a text needs no tokenizer."""

    def __init__(self, model: ChatterboxModel, busy: Busy) -> None:
        stages: Any = IdleStages(TURBO_SOLVER_STEPS if model is ChatterboxModel.TURBO else SOLVER_STEPS, busy)
        nothing: Any = None
        super().__init__(model, voices=self, tokenizer=None, vocabulary=nothing, device=_CPU, stages=stages)

    def conditionals(self, voice_id: str, model: str) -> VoiceConditionals:
        """Return the only voice."""
        del voice_id, model
        return _VOICE

    def text(self, segment: Segment, language: str) -> torch.Tensor:
        """Return nothing to say."""
        del segment, language
        return _TEXT


def makers(make: Callable[[], object]) -> Mapping[str, Callable[[], object]]:
    """Return what makes each module."""
    return dict.fromkeys(MODULES, make)


def wait(seconds: float) -> None:
    """Let others have Python's lock for so long, as while a device computes."""
    if seconds:
        time.sleep(seconds)
