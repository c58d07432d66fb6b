"""Measures how far streamed speech is from the same speech made at once, for several schemes and schedules of chunks.

    python -m benchmarks.streaming_fidelity                        tiny networks with planted random weights
    python -m benchmarks.streaming_fidelity --weights FOLDER       a folder in upstream's layout, with its conds.pt
    python -m benchmarks.streaming_fidelity --weights synthetic    made into the cache (synthetic:tiny, hub)

With weights, what is spoken is their voice's own reference (the prompt's tokens), or `--tokens FILE`. On random weights
the ranking by log-mel is provisional: nothing there denoises as a trained network does. `--out FILE` keeps the figures.
"""

import argparse
import json
import math
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cached_weights import cached_folder
from benchmarks.streaming_schemes import Networks, Scheme, Streamed, fork, ours, whole
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE
from tts_service.models.chatterbox.loading import open_weights
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.upstream import upstream
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.mel_flow import MelPrompt

DIP_SAMPLES = 240
"""10 ms: the level right after a seam is compared with the whole's over this stretch."""

SCHEMES: dict[str, Scheme] = {
    "ours: 24, 12, then growing to 50": ours(ChunkSchedule()),
    "ours: 24, then 12 each": ours(ChunkSchedule(growth=1.0)),
    "ours: 25 each": ours(ChunkSchedule(first_tokens=25, next_tokens=25, growth=1.0)),
    "ours: 50 each": ours(ChunkSchedule(first_tokens=50, next_tokens=50, growth=1.0)),
    "streaming fork: 25 each, 50 context": fork,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """How far a streamed waveform is from the whole's.

    `mel_decibels` is the mean difference of the flow's mels, `sound_decibels` that of the sounds' mels.
    `one_piece_error` is the largest error against the same mel and excitation made in one piece, as a part of its peak.
    `seam_jump` is the largest step between neighbouring samples at a seam as a part of the largest anywhere else,
    `seam_dip_decibels` how much softer than the whole's the stretch after a seam is, at the median seam.
    """

    missing_samples: int
    mel_decibels: float
    sound_decibels: float
    one_piece_error: float | None
    seam_jump: float
    seam_dip_decibels: float


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="a folder, hub or synthetic[:tiny]; without it, planted random weights")
    parser.add_argument("--model", type=ChatterboxModel, choices=list(ChatterboxModel), default=ChatterboxModel.ENGLISH)
    parser.add_argument("--size", type=NetworkSize, choices=list(NetworkSize), default=NetworkSize.TINY)
    parser.add_argument("--tokens", type=Path, help="file of speech tokens, between spaces")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions with other noise (and random tokens)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)  # Tiny networks are slower on several.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    networks = _networks(options)
    runs = [(seed, _tokens(options, networks, seed)) for seed in range(options.seeds)]
    rows = [(name, [measured(scheme, networks, tokens, seed) for seed, tokens in runs]) for name, scheme in _rows()]
    _print(rows)
    if options.out is not None:
        kept = {**_about(options), "schemes": {name: [asdict(run) for run in found] for name, found in rows}}
        options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


def _rows() -> list[tuple[str, Scheme]]:
    def with_other_noise(networks: Networks, tokens: Sequence[int], seed: int) -> Streamed:
        return whole(networks, tokens, seed + 1_000_000)

    return [("whole again, with other noise", with_other_noise), *SCHEMES.items()]


def measured(scheme: Scheme, networks: Networks, tokens: Sequence[int], seed: int) -> Distances:
    """Return how far a scheme's speech is from the whole's, with the same tokens and seed."""
    at_once, streamed = whole(networks, tokens, seed), scheme(networks, tokens, seed)
    reference, wave, one_piece = at_once.wave, streamed.wave, streamed.one_piece
    return Distances(
        missing_samples=len(reference) - len(wave),
        mel_decibels=decibels(at_once.mel, streamed.mel),
        sound_decibels=sound_distance(reference, wave),
        one_piece_error=None if one_piece is None else float((wave - one_piece).abs().max() / one_piece.abs().max()),
        seam_jump=seam_jump(wave, streamed.seams),
        seam_dip_decibels=seam_dip(reference, wave, streamed.seams),
    )


def decibels(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the mean absolute difference of two mels (natural logarithms), over the frames that both have."""
    frames = min(one.shape[-1], other.shape[-1])
    return float((one[..., :frames] - other[..., :frames]).abs().mean() * 20 / math.log(10))


def sound_distance(reference: torch.Tensor, wave: torch.Tensor) -> float:
    """Return the mean absolute difference of the mels that upstream takes of two waveforms."""
    spectrum = upstream("models.s3gen.utils.mel").mel_spectrogram
    return decibels(*(spectrum(each[None].clone()) for each in (reference, wave)))


def seam_jump(wave: torch.Tensor, seams: Sequence[int]) -> float:
    """Return the largest step at a seam over the largest anywhere else; 0 without seams."""
    if not seams:
        return 0.0
    steps = wave.diff().abs()
    at_seams = torch.tensor([seam - 1 for seam in seams], device=wave.device)
    elsewhere = torch.ones_like(steps, dtype=torch.bool).index_fill(0, at_seams, value=False)
    return float(steps[at_seams].max() / steps[elsewhere].max())


def seam_dip(reference: torch.Tensor, wave: torch.Tensor, seams: Sequence[int]) -> float:
    """Return how many decibels softer than the whole's the stretch after a seam is, at the median seam."""
    if not seams:
        return 0.0
    return statistics.median(
        float(20 * torch.log10(_level(reference, seam) / _level(wave, seam).clamp(min=1e-9))) for seam in seams
    )


def _level(wave: torch.Tensor, start: int) -> torch.Tensor:
    return wave[start : start + DIP_SAMPLES].square().mean().sqrt()


def _networks(options: argparse.Namespace) -> Networks:
    if options.weights is None:
        # Planted weights belong to the tests; they are wanted here only when there are no others.
        from tests.fakes.tiny_s3gen import planted_s3gen  # noqa: PLC0415  # See above.

        planted = planted_s3gen(options.size, meanflow=options.model is ChatterboxModel.TURBO, prompt_tokens=125)
        flow, vocoder, prompt = planted.flow, planted.vocoder, planted.prompt
    else:
        folder = cached_folder(options.weights, options.model)
        weights = open_weights(folder, options.model)
        flow, vocoder = weights.load(S3GEN_FLOW), weights.load(S3GEN_VOCODER)
        prompt = MelPrompt.from_upstream(read_conditionals(folder / CONDITIONALS_FILE).gen).trimmed()
    on_device = MelPrompt(
        tokens=prompt.tokens.to(options.device),
        mel=prompt.mel.to(options.device),
        speaker=prompt.speaker.to(options.device),
    )
    return Networks(flow=flow.to(options.device), vocoder=vocoder.to(options.device), prompt=on_device)


def _about(options: argparse.Namespace) -> dict[str, Any]:
    is_cuda = options.device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name() if is_cuda else platform.machine(),
        "command": shlex.join(["python", "-m", "benchmarks.streaming_fidelity", *sys.argv[1:]]),
        "torch": torch.__version__,
        "model": options.model.value,
        "weights": options.weights or f"planted {options.size.value}",
        "seeds": options.seeds,
    }


def _tokens(options: argparse.Namespace, networks: Networks, seed: int) -> list[int]:
    if options.tokens is not None:
        return [int(token) for token in options.tokens.read_text().split()]
    if options.weights is not None:
        return [int(token) for token in networks.prompt.tokens]
    drawn = torch.randint(0, CODEBOOK_TOKENS, (150,), generator=torch.Generator().manual_seed(seed))
    return [int(token) for token in drawn]


def _print(rows: Sequence[tuple[str, Sequence[Distances]]]) -> None:
    table = Table(title="Streamed speech against the same speech at once (means; the worst for errors and jumps)")
    headings = ("mel, dB", "sound, dB", "error/peak", "seam jump", "seam dip, dB", "missing")
    table.add_column("scheme", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, runs in rows:
        errors = [run.one_piece_error for run in runs if run.one_piece_error is not None]
        table.add_row(
            name,
            f"{statistics.mean(run.mel_decibels for run in runs):.2f}",
            f"{statistics.mean(run.sound_decibels for run in runs):.2f}",
            f"{max(errors):.1e}" if errors else "-",
            f"{max(run.seam_jump for run in runs):.2f}",
            f"{statistics.mean(run.seam_dip_decibels for run in runs):.1f}",
            f"{max(run.missing_samples for run in runs)}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
