"""The stages of Chatterbox's speech from captured work: `stages.EagerStages` for a GPU.

Sound stays on the device until it is marked, and reaches the host in one copy. Tokens have graphs and scratch memory of
their own, since they are computed while the chunk before them becomes sound.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.running_form import running_dtype
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.speech.captured.flow_buckets import USUAL_FRAMES
from tts_service.speech.captured.flow_noise import CapturedNoise
from tts_service.speech.captured.flow_stage import CapturedFlow
from tts_service.speech.captured.graphs import Graphs
from tts_service.speech.captured.marks_stage import CapturedEncoder
from tts_service.speech.captured.marks_stream import CapturedMarks
from tts_service.speech.captured.sound_company import CapturedCompany, CompanyMemory
from tts_service.speech.captured.t3_captured import CapturedT3
from tts_service.speech.captured.t3_passes import Buckets
from tts_service.speech.captured.t3_ways import usual_ways
from tts_service.speech.captured.token_pages import KeyValuePages, PageShape
from tts_service.speech.captured.token_stream import CapturedBursts, CapturedTokens
from tts_service.speech.captured.vocoder_stage import CapturedVocoder
from tts_service.speech.captured.waiting_pages import WaitingRoom
from tts_service.speech.mel import MelNoise, MelState, decode_mel
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.random_source import CounterRandom, RandomSource
from tts_service.speech.speech_model import Lane, MarkStream, Modules, PrepareStep, Sound
from tts_service.speech.speech_tokens import TokenRequest
from tts_service.speech.stages import StageModules, StageReach
from tts_service.speech.waveform import WaveformState
from tts_service.types import WATERMARK_ENCODER, ModuleName

SLOTS: Final = 256
"""Segments whose tokens are under way at once; what comes then waits, and in the end is told to come back."""

TOGETHER: Final = 32
"""Segments whose tokens come from one pass."""

REACH: Final = StageReach(decode_frames=USUAL_FRAMES[-1], sound_frames=150)
"""What is longer has no graph, and holds the lane for all: a whole segment of bulk is cut where this ends. With what is
decoded again, and what is shown ahead, 150 frames take a window of 186."""

LONGEST_SEGMENTS: Final = 32
"""So many segments of the longest kind have pages; most are a fifth of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMemory:
    """Where captured stages have their memory on a device: graphs, pages, and the scratch modules that they are in.

    `pages` makes the keys' and values', once their shape and type are known, for so many segments, and `room` where
    they wait on the host while a segment stands still; None if they never do. `company` is where
    sound of several segments is made at once; None if it never is.
    """

    token_graphs: Graphs
    sound_graphs: Graphs
    pages: Callable[[PageShape, torch.dtype, int], KeyValuePages]
    token_scratch: frozenset[ModuleName]
    sound_scratch: frozenset[ModuleName]
    company: CompanyMemory | None = None
    room: Callable[[PageShape, torch.dtype], WaitingRoom | None] = lambda _shape, _dtype: None


class CapturedStages:
    """Graphs for one model, after its `prepare_steps` have been taken.

    With `company_late`, those for several segments may be captured later, while others speak.
    """

    reach = REACH

    def __init__(
        self, model: ChatterboxModel, memory: StageMemory, *, slots: int = SLOTS, company_late: bool = False
    ) -> None:
        self.modules = StageModules(
            tokens=frozenset({T3}) | memory.token_scratch,
            mel=frozenset({S3GEN_FLOW}) | memory.sound_scratch,
            sound=frozenset({S3GEN_VOCODER}) | memory.sound_scratch,
            marks=frozenset({WATERMARK_ENCODER}) | memory.sound_scratch,
        )
        self._model = model
        self._memory = memory
        self._slots = slots
        self._pages: KeyValuePages | None = None
        self._t3: CapturedT3 | None = None
        self._bursts: CapturedBursts | None = None
        self._flow = CapturedFlow(memory.sound_graphs)
        self._noise: CapturedNoise | None = None
        self._vocoder: CapturedVocoder | None = None
        self._encoder: CapturedEncoder | None = None
        self._company = None if memory.company is None else CapturedCompany(memory.company, self._drawn)
        self._company_late = company_late
        self._has_company = False

    @property
    def bursts(self) -> CapturedBursts | None:
        """What computes tokens of several streams at once; None before it is captured."""
        return self._bursts

    @property
    def company(self) -> CapturedCompany | None:
        """What makes sound of several segments at once; None before it is captured."""
        return self._company if self._has_company else None

    def tokens(self, request: TokenRequest, random: CounterRandom) -> CapturedTokens:
        """Begin a segment's speech tokens."""
        assert self._t3 is not None, "nothing is captured yet"
        return CapturedTokens(request, random, self._t3)

    def mel(
        self, flow: Any, state: MelState, prompt: MelPrompt, random: RandomSource, *, final: bool
    ) -> tuple[MelState, torch.Tensor]:
        """Decode a state's tokens."""
        return decode_mel(flow, state, prompt, random, final=final, forward=self._flow.mel, noise=self._drawn())

    def sound(
        self,
        vocoder: Any,
        state: WaveformState,
        mel: torch.Tensor,
        random: RandomSource,
        *,
        ahead: torch.Tensor,
        final: bool,
    ) -> tuple[WaveformState, Sound]:
        """Make sound of frozen mel, which stays on the device."""
        assert self._vocoder is not None, "nothing is captured yet"
        return self._vocoder.sound(vocoder, state, mel, random, ahead=ahead, final=final)

    def marks(self, *, alone: bool = False) -> MarkStream:
        """Begin to mark an utterance whose sound is on the device."""
        assert self._encoder is not None, "nothing is captured yet"
        return _Marks(self._encoder, self._marking, None if alone else self.company)

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return the captures, stage by stage."""
        flow, sound = self.modules.mel, self.modules.sound
        return (
            PrepareStep(name="capturing t3", lane=Lane.TOKENS, modules=self.modules.tokens, run=self._capture_tokens),
            PrepareStep(name="capturing s3gen.flow", lane=Lane.SOUND, modules=flow, run=self._capture_flow),
            PrepareStep(name="capturing s3gen.vocoder", lane=Lane.SOUND, modules=sound, run=self._capture_vocoder),
            PrepareStep(name="capturing watermark", lane=Lane.SOUND, modules=self._marking, run=self._capture_encoder),
            *self._company_steps(),
        )

    def _company_steps(self) -> Iterator[PrepareStep]:
        """Yield what several segments need, under the leases of their replays: compiled now, and captured in its time.

        Graphs cost device memory for life, and who compiles holds the lane for seconds.
        """
        company, late = self._company, self._company_late
        if company is None:
            return
        flow, vocoder, marks = (
            each | company.modules for each in (self.modules.mel, self.modules.sound, self._marking)
        )
        needed = {S3GEN_FLOW: flow, S3GEN_VOCODER: vocoder, WATERMARK_ENCODER: marks}

        def over(_leased: Modules) -> None:
            company.forget_cache()
            self._has_company = True

        def step(verb: str, module: ModuleName, run: Callable[[Any], None], *, late: bool) -> PrepareStep:
            return PrepareStep(
                name=f"{verb} {module} for several",
                lane=Lane.SOUND,
                modules=needed[module],
                run=lambda leased: run(leased[module]),
                late=late,
            )

        yield step("compiling", S3GEN_FLOW, company.open_flow, late=False)
        yield step("compiling", S3GEN_VOCODER, company.open_vocoder, late=False)
        for module, capture in company.captures():
            yield step("capturing", module, capture, late=late)
        yield PrepareStep(name="making sound of several", lane=Lane.SOUND, modules=marks, run=over, late=late)

    def _drawn(self) -> MelNoise:
        assert self._noise is not None, "nothing is captured yet"
        return self._noise.drawn

    @property
    def _marking(self) -> frozenset[ModuleName]:
        return frozenset({WATERMARK_ENCODER}) | self._memory.sound_scratch

    def _capture_tokens(self, leased: Modules) -> None:
        t3, memory = leased[T3], self._memory
        shape, dtype = PageShape.of(t3), running_dtype(t3)
        if self._pages is None:  # If room has to be made for what follows, this is not taken again.
            self._pages = memory.pages(shape, dtype, min(self._slots, LONGEST_SEGMENTS))
        self._t3 = CapturedT3(
            model=self._model,
            t3=t3,
            graphs=memory.token_graphs,
            pages=self._pages,
            buckets=Buckets.of(self._model, min(self._slots, TOGETHER)),
            ways=usual_ways(self._model, memory.token_graphs.device),
            slots=self._slots,
            room=memory.room(shape, dtype),
        )
        self._t3.capture(t3)
        self._bursts = CapturedBursts(self._t3)

    def _capture_flow(self, leased: Modules) -> None:
        self._noise = self._noise or CapturedNoise(self._memory.sound_graphs, frames=USUAL_FRAMES[-1])
        self._flow.capture(leased[S3GEN_FLOW])
        self._noise.capture()

    def _capture_vocoder(self, leased: Modules) -> None:
        self._vocoder = CapturedVocoder(self._memory.sound_graphs)
        self._vocoder.capture(leased[S3GEN_VOCODER])

    def _capture_encoder(self, leased: Modules) -> None:
        self._encoder = CapturedEncoder(self._memory.sound_graphs)
        self._encoder.capture(leased[WATERMARK_ENCODER])

    def __repr__(self) -> str:
        return f"<CapturedStages of {self._model} | {self._t3!r} {self._flow!r}>"


class _Marks(CapturedMarks):
    """Marks that say what they need."""

    def __init__(self, stage: CapturedEncoder, modules: frozenset[ModuleName], company: CapturedCompany | None) -> None:
        super().__init__(stage, alone=company is None)
        self.modules = modules
        self.company = company
