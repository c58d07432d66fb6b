"""Ways to stream S3Gen, as functions from tokens to pieces of sound: ours, and the public streaming fork's idea.

The fork's (davidbrowne17/chatterbox-streaming, release 0.1.3) is written anew from what it does: each chunk is decoded
with at most 50 tokens before it as if the sentence ended there, with fresh noise and upstream's fade; the sound of the
context is cut off by proportion; what remains is faded in over 20 ms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tts_service.speech.chunked_segment import scheduled_chunks, spoken_chunks
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.random_source import CounterRandom, UpstreamRandom
from tts_service.speech.waveform import faded_in, vocode
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME
from tts_service.speech.whole_segment import upstream_mel, upstream_waveform

FORK_CHUNK_TOKENS = 25
FORK_CONTEXT_TOKENS = 50
FORK_FADE_SAMPLES = 480


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """What a scheme decodes with: leased modules, and a trimmed voice."""

    flow: Any
    vocoder: Any
    prompt: MelPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """Pieces of sound as they would go out, the mel that they were made of, and the same made in one piece.

    `one_piece` is the waveform of all the mel and all the excitation at once, where a scheme has them.
    """

    pieces: list[torch.Tensor]
    mel: torch.Tensor
    one_piece: torch.Tensor | None = None

    @property
    def wave(self) -> torch.Tensor:
        """All pieces, joined."""
        return torch.cat(self.pieces)

    @property
    def seams(self) -> list[int]:
        """The samples at which a piece begins, but for the first."""
        ends = torch.tensor([len(piece) for piece in self.pieces]).cumsum(0).tolist()
        return sorted({end for end in ends if 0 < end < ends[-1]})


Scheme = Callable[[Networks, Sequence[int], int], Streamed]
"""Speaks tokens with the noise of a seed."""


class _Watched:
    """A vocoder that keeps the last excitation it was given."""

    def __init__(self, vocoder: Any) -> None:
        self.m_source, self.f0_predictor = vocoder.m_source, vocoder.f0_predictor
        self.last_source = torch.zeros(0)
        self._decode = vocoder.decode

    def decode(self, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        """Decode as the vocoder does."""
        self.last_source = s[0, 0]
        decoded: torch.Tensor = self._decode(x=x, s=s)
        return decoded

    def __repr__(self) -> str:
        return f"<_Watched {len(self.last_source)} samples>"


def ours(schedule: ChunkSchedule) -> Scheme:
    """Return our scheme with a schedule of chunks."""

    def scheme(networks: Networks, tokens: Sequence[int], seed: int) -> Streamed:
        watched, random = _Watched(networks.vocoder), CounterRandom(seed=seed, segment=0)
        mel, source, pieces = networks.prompt.mel.new_zeros(80, 0), torch.zeros(0), []
        for chunk in spoken_chunks(networks.flow, watched, networks.prompt, scheduled_chunks(tokens, schedule), random):
            mel = torch.cat([mel, chunk.mel], dim=1)
            pieces.append(chunk.wave)
            if len(chunk.wave):
                seen_samples = SAMPLES_PER_FRAME * (mel.shape[1] + chunk.held.shape[1])
                kept = source[: seen_samples - len(watched.last_source)]
                source = torch.cat([kept.to(mel.device), watched.last_source])
        with torch.inference_mode():
            one_piece = faded_in(vocode(networks.vocoder, mel, source), start_sample=0)
        return Streamed(pieces=pieces, mel=mel, one_piece=one_piece)

    return scheme


def whole(networks: Networks, tokens: Sequence[int], seed: int) -> Streamed:
    """Speak everything in one decode: what streaming is measured against."""
    random = CounterRandom(seed=seed, segment=0)
    (chunk,) = spoken_chunks(networks.flow, networks.vocoder, networks.prompt, [tokens], random)
    return Streamed(pieces=[chunk.wave], mel=chunk.mel)


def fork(networks: Networks, tokens: Sequence[int], seed: int) -> Streamed:
    """Speak as the public streaming fork does."""
    random = UpstreamRandom(
        torch.Generator(device=networks.prompt.mel.device).manual_seed(seed),
        phase_generator=torch.Generator().manual_seed(seed),
        device=networks.prompt.mel.device,
    )
    mels, pieces = [], []
    for start in range(0, len(tokens), FORK_CHUNK_TOKENS):
        context = tokens[max(0, start - FORK_CONTEXT_TOKENS) : start]
        seen = [*context, *tokens[start : start + FORK_CHUNK_TOKENS]]
        mel = upstream_mel(networks.flow, networks.prompt, seen, random)
        wave = faded_in(upstream_waveform(networks.vocoder, mel, random), start_sample=0)
        share = len(context) / len(seen)
        mels.append(mel[:, int(share * mel.shape[1]) :])
        pieces.append(_faded(wave[int(share * len(wave)) :]))
    return Streamed(pieces=pieces, mel=torch.cat(mels, dim=1))


def _faded(piece: torch.Tensor) -> torch.Tensor:
    """Return a piece that rises from silence over 20 ms, as the fork begins every one."""
    rise = torch.linspace(0, 1, FORK_FADE_SAMPLES, device=piece.device)[: len(piece)]
    return torch.cat([piece[: len(rise)] * rise, piece[len(rise) :]])
