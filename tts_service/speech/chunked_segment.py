"""A segment spoken in chunks, without leases: the steps in the order in which the pipeline takes them.

For measurements and tests; the pipeline takes each step under a lease of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tts_service.speech.mel import MelState, decode_mel, with_tokens
from tts_service.speech.mel_chunks import ChunkSchedule, chunk_tokens, tail_tokens
from tts_service.speech.mel_flow import FlowNetwork, MelPrompt
from tts_service.speech.random_source import RandomSource
from tts_service.speech.waveform import VocoderNetwork, WaveformState, sound


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenChunk:
    """What a decode brought, of any length: frozen mel (80, frames), the mel held back behind it, sound (samples,)."""

    mel: torch.Tensor
    held: torch.Tensor
    wave: torch.Tensor


def spoken_chunks(
    flow: FlowNetwork, vocoder: VocoderNetwork, prompt: MelPrompt, chunks: Sequence[Sequence[int]], random: RandomSource
) -> Iterator[SpokenChunk]:
    """Speak a segment whose tokens arrive in these chunks, decoding after each; the last one ends the segment."""
    mel_state, wave_state = MelState(), WaveformState()
    for place, tokens in enumerate(chunks, start=1):
        final = place == len(chunks)
        mel_state, mel = decode_mel(flow, with_tokens(mel_state, tokens), prompt, random, final=final)
        wave_state, wave = sound(vocoder, wave_state, mel, random, ahead=mel_state.held, final=final)
        yield SpokenChunk(mel=mel, held=mel_state.held, wave=wave)


def scheduled_chunks(tokens: Sequence[int], schedule: ChunkSchedule) -> list[list[int]]:
    """Cut tokens into chunks as a schedule would for an utterance's first segment; at least one, if only an empty."""
    chunks, left = list[list[int]](), list(tokens)
    while len(left) > (wanted := chunk_tokens(schedule, len(chunks))) + tail_tokens(schedule, len(chunks)):
        chunks.append(left[:wanted])
        left = left[wanted:]
    return [*chunks, left]
