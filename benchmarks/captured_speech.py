"""Captured speech on a GPU: the same bits after a thousand evictions, and upstream's functions to rounding.

    python -m benchmarks.captured_speech                            English at full size on the first GPU, a minute
    python -m benchmarks.captured_speech --device cpu --size tiny   the same way over the driver's fake

`cycles`: before every step of speech everything that may leave does, a neighbour fills the freed memory with garbage
and goes, and all of it comes back; the marked samples must be those of speech without moves, bit for bit. `fp32`: every
stage in fp32, captured beside the eager one, which `benchmarks.fidelity` holds against upstream's own functions.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
import torch

from benchmarks.cached_weights import CACHE, cached_folder, synthetic_source
from benchmarks.captured_rig import VOICE, CapturedRig, speech_of, spoken_modules
from benchmarks.long_weights import long_folder
from benchmarks.product_speech import TEXT, product_config
from tts_service.config import Precisions
from tts_service.machine import fix_kernels, open_device
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.loading import ModelWeights, open_weights
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.process_settings import settle_libraries
from tts_service.running_forms import running_forms
from tts_service.speech.mel import MelState, with_tokens
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_tokens import TokenRequest
from tts_service.speech.stages import EagerStages
from tts_service.speech.waveform import WaveformState
from tts_service.types import ModuleName, Precision, Segment

SEED: Final = 7
MOST_ERROR: Final = 1e-3
"""Of fp32 captured against eager, as a share of the eager result's peak."""


def main() -> int:
    """Run sections, each in a process of its own; print and keep; 1 if one does not hold."""
    options = _options()
    if options.section:
        return _run(options)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in options.only.split(","):
            file = Path(place, name)
            command = [sys.executable, "-m", "benchmarks.captured_speech", *sys.argv[1:]]
            subprocess.run([*command, "--section", name, "--out", str(file)], check=False)
            found[name] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"holds": False}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each["holds"] for each in found.values()) else 1


def _run(options: argparse.Namespace) -> int:
    """Run one section in this process."""
    settle_libraries(os.environ)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    fix_kernels()
    device = torch.device(options.device)
    open_device(device)
    folder = long_folder(cached_folder(synthetic_source(options.size), options.model, options.cache), options.model)
    began = time.perf_counter()
    found = SECTIONS[options.section](folder, device, options)
    print(f"{options.section:7} {time.perf_counter() - began:6.1f} s  {json.dumps(found)}", flush=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if found["holds"] else 1


def cycles(folder: Path, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """Speak while everything comes and goes between any two steps, until there were enough cycles."""
    weights = _weights(folder, device, options.model, Precisions())
    rig = CapturedRig(folder, weights, device, options.cache)
    utterances, changed, samples = 0, 0, 0
    while rig.cycles < options.cycles:
        seed = SEED + utterances
        still = rig.spoken(seed=seed, tokens=options.tokens)
        moved = rig.spoken(seed=seed, tokens=options.tokens, cycles_most=options.cycles)
        utterances, samples = utterances + 1, samples + len(moved)
        changed += not np.array_equal(still, moved)
    return {
        "cycles": rig.cycles,
        "utterances": utterances,
        "samples": samples,
        "changed": changed,
        "holds": not changed and samples > 0,
    }


def fp32(folder: Path, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """Compare captured stages with eager ones, in fp32 without TF32, from the same inputs."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    settings = Precisions(t3=Precision.FP32, s3gen_flow=Precision.FP32)
    weights = _weights(folder, device, options.model, settings)
    rig = CapturedRig(folder, weights, device, options.cache)
    eager: dict[ModuleName, Any] = {name: weights.load(name).to(device) for name in spoken_modules(weights)}
    speech = speech_of(folder, weights, device, EagerStages())
    random = CounterRandom(seed=SEED, segment=0, device=device)
    voice = speech.utterance(product_config(options.model, VOICE, SEED, None)).voice()
    request = TokenRequest(
        model=options.model,
        text=speech.text(Segment(text=TEXT, text_start=0, text_end=len(TEXT.encode())), "en"),
        voice=voice.tokens,
        sampling=default_sampling(options.model),
        text_budget=None,
    )
    theirs, ours = EagerStages().tokens(request, random), rig.stages.tokens(request, random)
    expected: list[int] = []
    tokens: list[int] = []
    while len(expected) < options.tokens:
        rig.bring(rig.stages.modules.tokens)
        expected += theirs.advance(eager[T3], 8)
        tokens += ours.advance(rig.modules[T3], 8)
    ours.cancel()
    ours.advance(rig.modules[T3], 8)
    same = next((place for place, (a, b) in enumerate(zip(expected, tokens, strict=False)) if a != b), len(expected))
    rig.bring(rig.stages.modules.mel | rig.stages.modules.sound)
    state = with_tokens(MelState(), expected[:75])
    mels = [
        stages.mel(modules[S3GEN_FLOW], state, voice.prompt, random, final=True)[1].clone()
        for stages, modules in ((EagerStages(), eager), (rig.stages, rig.modules))
    ]
    waves = [
        torch.as_tensor(
            stages.sound(modules[S3GEN_VOCODER], WaveformState(), mels[0], random, ahead=mels[0][:, :0], final=True)[1]
        ).cpu()
        for stages, modules in ((EagerStages(), eager), (rig.stages, rig.modules))
    ]
    errors = {"mel": _error(*mels), "waveform": _error(*waves)}
    return {
        "tokens_compared": len(expected),
        "tokens_same": same,
        **errors,
        "holds": same == len(expected) and max(errors.values()) <= MOST_ERROR,
    }


def _error(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """Return the largest difference as a share of the expected peak."""
    return float((expected - actual).abs().max() / expected.abs().max())


def _weights(folder: Path, device: torch.device, model: ChatterboxModel, settings: Precisions) -> ModelWeights:
    return open_weights(folder, model, forms=running_forms(settings, device))


SECTIONS: Final = {"cycles": cycles, "fp32": fp32}


def _options() -> argparse.Namespace:
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=ChatterboxModel, default=ChatterboxModel.ENGLISH)
    parser.add_argument("--size", type=NetworkSize, default=NetworkSize.FULL if has_gpu else NetworkSize.TINY)
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--cycles", type=int, default=1000, help="how often everything leaves and comes back")
    parser.add_argument("--tokens", type=int, default=120, help="of each utterance; 25 are a second")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--section", default="", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the weights")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
