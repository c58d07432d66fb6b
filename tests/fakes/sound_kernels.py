"""How far the vocoder's Triton kernels are from torch: a program of its own, for Triton's interpreter.

Whether kernels are interpreted is decided as they are defined, so it takes a process.
"""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import torch

from tts_service.speech.captured.source_excitation import SourceWindow, plain_excitation
from tts_service.speech.captured.vocoder_operations import Extent, PlainVocoderOperations
from tts_service.speech.random_source import CounterRandom

CHANNELS = 16
STEPS = 181


def largest_differences(device: torch.device) -> dict[str, float]:
    """Return each operation's largest difference."""
    differences: dict[str, float] = {"excitation": _excitation(device)}
    for name, expected, actual in _operations(device):
        differences[name] = max(differences.get(name, 0.0), float((expected - actual).abs().max()))
    return differences


def _operations(device: torch.device) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Yield what torch and the kernels make of the same values; these are overwritten, so each has its own."""
    from tts_service.speech.captured.vocoder_kernels import FusedVocoderOperations  # noqa: PLC0415  # See the file's head.

    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    plain, fused = PlainVocoderOperations(), FusedVocoderOperations()
    extent = Extent(frames=torch.tensor([21, 7], device=device), rate=8, extra=1)
    values, bias, alpha = drawn(2, CHANNELS, STEPS), drawn(CHANNELS), drawn(CHANNELS).abs() + 0.2
    base = torch.where(extent.holds(STEPS), drawn(2, CHANNELS, STEPS), 0.0)
    yield "leaked", plain.leaked(values, bias, extent, 0.1), fused.leaked(values.clone(), bias, extent, 0.1)
    yield "snaked", plain.snaked(values, alpha), fused.snaked(values.clone(), alpha)
    yield "finished", plain.finished(values, bias, extent, alpha), fused.finished(values.clone(), bias, extent, alpha)
    for below in (None, base):
        for act in (None, alpha):
            expected = plain.added(values, bias, extent, base=below, alpha=act)
            actual = fused.added(values.clone(), bias, extent, base=below, alpha=act)
            yield "added", expected[0], actual[0]
            yield "added", expected[1], actual[1]
    branches = [drawn(2, CHANNELS, STEPS) for _ in range(3)]
    yield "mixed", plain.mixed(branches, 0.01), fused.mixed([each.clone() for each in branches], 0.01)


def _excitation(device: torch.device) -> float:
    from tts_service.speech.captured.source_kernels import fused_excitation  # noqa: PLC0415  # See the file's head.

    numbers_of = SimpleNamespace(harmonic_num=8, sine_amp=0.1, noise_std=0.003, voiced_threshold=10)
    torch.manual_seed(3)
    module = SimpleNamespace(
        l_sin_gen=numbers_of, l_linear=torch.nn.Linear(9, 1).to(device).requires_grad_(requires_grad=False)
    )
    f0 = (300 * torch.rand(2, 9, generator=torch.Generator().manual_seed(2)) - 20).to(device)
    keys = [CounterRandom(seed=2**63 + 5, segment=each).source_keys for each in (7, 8)]
    numbers = torch.tensor([[8, 2, 1_000, *keys[0]], [9, 0, 0, *keys[1]]], device=device).T.contiguous()
    frames, fresh_from, start_frame, phase_key, noise_key = numbers.unbind()
    window = SourceWindow(
        frames=frames,
        fresh_from=fresh_from,
        start_frame=start_frame,
        phase_key=phase_key,
        noise_key=noise_key,
        cycles=torch.tensor([0.3, 0.0], dtype=torch.float64, device=device),
    )
    (expected, ends), (actual, other_ends) = (way(module, f0, window) for way in (plain_excitation, fused_excitation))
    apart = (expected - actual).abs()
    fresh = max(float(apart[0, 2 * 480 : 8 * 480].max()), float(apart[1].max()))
    return max(fresh, float((ends - other_ends).abs().max()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for measured, value in largest_differences(torch.device("cpu")).items():
        sys.stdout.write(f"{measured} {value}\n")
