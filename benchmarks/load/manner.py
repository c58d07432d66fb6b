"""How sessions of a run behave: one value that every session reads."""

from dataclasses import dataclass
from typing import Any, Final

from benchmarks.speaking import Request, config
from greenroom.tts.v1 import tts_pb2 as pb

FOREVER: Final = 1_000_000

ENCODINGS: Final = {
    "pcm": pb.AUDIO_ENCODING_PCM_S16LE,
    "float": pb.AUDIO_ENCODING_PCM_F32LE,
    "mulaw": pb.AUDIO_ENCODING_MULAW,
    "alaw": pb.AUDIO_ENCODING_ALAW,
    "opus": pb.AUDIO_ENCODING_OGG_OPUS,
    "wav": pb.AUDIO_ENCODING_WAV,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """What sessions say and how they listen.

    `tokens_per_second` 0: texts come whole. `turns`: utterances of a session, each heard out, then `think_seconds` of
    silence, drawn from an exponential distribution. `report_seconds` 0: playback is not reported. `barge_in_share` of
    the utterances are interrupted at a random position. `ahead_seconds` None: the service's own lead. Every so-many-th
    session asks to be `reproducible`, which costs the others time; 0: none does.
    """

    seed: int = 1
    model: str = ""
    voice: str = ""
    encodings: tuple[str, ...] = ("pcm",)
    sample_rate_hertz: int = 0
    words: float = 18.0
    tokens_per_second: float = 40.0
    jitter: float = 0.5
    turns: int = 3
    think_seconds: float = 0.5
    barge_in_share: float = 0.0
    report_seconds: float = 0.25
    ahead_seconds: float | None = None
    delay_seconds: float = 0.0
    max_segment_tokens: int = 0
    is_paced: bool = True
    reproducible_every: int = 0

    def encoding(self, session: int) -> str:
        """Return how a session's audio is coded: by turns."""
        return self.encodings[session % len(self.encodings)]

    def is_reproducible(self, session: int) -> bool:
        """Return whether a session asks that nothing of it is computed together with others'."""
        return self.reproducible_every > 0 and session % self.reproducible_every == 0

    def is_comparable(self, session: int) -> bool:
        """Return whether a session may be compared with itself alone: where some ask for it, only they may."""
        return self.reproducible_every == 0 or self.is_reproducible(session)

    def session_seed(self, session: int) -> int:
        """Return the seed of a session's speech; no two of a run have the same."""
        return self.seed * FOREVER + session

    def first_message(self, session: int, *, is_paced: bool | None = None) -> Any:
        """Return a session's configuration.

        Segments end where sentences do, however slowly text comes, so that the same text always gives the same audio.
        """
        is_paced = self.is_paced if is_paced is None else is_paced
        sampling = pb.Sampling(seed=self.session_seed(session))
        if self.max_segment_tokens:
            sampling.max_segment_tokens = self.max_segment_tokens
        form = pb.AudioFormat(encoding=ENCODINGS[self.encoding(session)], sample_rate_hertz=self.sample_rate_hertz)
        request: Request = config(
            model=self.model,
            voice=self.voice,
            audio_format=form,
            sampling=sampling,
            pacing=pb.PACING_REALTIME if is_paced else pb.PACING_NONE,
        )
        request.config.max_buffer_delay.FromNanoseconds(0)
        if self.is_reproducible(session):
            request.config.reproducible = True
        if self.ahead_seconds is not None:
            request.config.max_audio_ahead.FromNanoseconds(round(1e9 * self.ahead_seconds))
        return request
