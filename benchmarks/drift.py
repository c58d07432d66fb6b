"""Measures how far each module is from fp32 when it computes in another type, with the same inputs.

    python -m benchmarks.drift                                      tiny synthetic weights, on a CPU
    python -m benchmarks.drift --weights synthetic --device cuda    full size, made into the cache
    python -m benchmarks.drift --weights FOLDER --device cuda       a folder in upstream's layout, with its conds.pt

T3 is given the tokens that fp32 says (no error of a token leads to another text); flow and vocoder are given fp32's
inputs. Each module takes its running form, as the service loads it. On synthetic weights the figures say what rounding
does, not what a listener hears: their logits and mels are not a trained network's. `--out FILE` keeps the figures.
"""

import argparse
import copy
import json
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cached_weights import cached_folder
from benchmarks.product_speech import TEXT
from benchmarks.streaming_fidelity import decibels, sound_distance
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE
from tts_service.models.chatterbox.loading import ModelWeights, open_weights
from tts_service.models.chatterbox.running_form import RunningForm, packed
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.text_tokenizers import load_text_tokenizer
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.captured.flow_weights import flow_form
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, flow_mel, mel_frames
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import default_sampling, guided
from tts_service.speech.speech_tokens import SpeechTokens, TokenRequest
from tts_service.speech.text_tokens import text_tokens, text_vocabulary
from tts_service.speech.token_backbone import run_backbone
from tts_service.speech.token_cache import KeyValueCache
from tts_service.speech.token_prompt import prompt_embeddings, token_embedding
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.waveform import randomness, vocode
from tts_service.speech.waveform_source import harmonic_count, upstream_source
from tts_service.types import Precision

SEED: Final = 7
LOWER: Final = (Precision.BF16, Precision.FP16)

Row = dict[str, float]
"""Figures by name, with their units in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What all types are given: a model with its voice, and the tokens that fp32 says."""

    weights: ModelWeights
    voice: VoiceConditionals
    request: TokenRequest
    tokens: tuple[int, ...]
    device: torch.device


@contextmanager
def tf32() -> Iterator[None]:
    """Let products of fp32 be made of inputs with 10 bits of mantissa, which only GPUs do."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def t3_logits(t3: Any, spoken: Spoken, *, wide_head: bool = False) -> torch.Tensor:
    """Return the guided logits (tokens + 1, vocabulary) before each of the tokens and after the last.

    With `wide_head`, the last product is made in fp32 of the same weights.
    """
    sampling, cache = spoken.request.sampling, KeyValueCache()
    head: Callable[[torch.Tensor], torch.Tensor] = _wide(t3.speech_head) if wide_head else t3.speech_head
    found = []
    with torch.inference_mode():
        embeddings, _ = prompt_embeddings(
            t3,
            spoken.voice.tokens,
            spoken.request.text,
            exaggeration=sampling.exaggeration,
            cfg_weight=sampling.cfg_weight,
        )
        rows = len(embeddings)
        for position, token in enumerate((*spoken.tokens, 0), start=1):
            hidden, _ = run_backbone(t3, embeddings, cache)
            found.append(guided(head(hidden).float(), sampling.cfg_weight))
            embeddings = token_embedding(t3, token, position=position, rows=rows)
    return torch.stack(found)


def _wide(head: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    weight, bias = head.weight.float(), getattr(head, "bias", None)
    bias = None if bias is None else bias.float()
    return lambda hidden: torch.nn.functional.linear(hidden.float(), weight, bias)


def mel_of(flow: Any, spoken: Spoken) -> torch.Tensor:
    """Return the mel (80, frames) of the tokens, decoded at once, with always the same noise."""
    prompt = spoken.voice.prompt
    tokens = torch.tensor([each for each in spoken.tokens if each < CODEBOOK_TOKENS], device=spoken.device)
    frames = FRAMES_PER_TOKEN * len(prompt.tokens) + mel_frames(len(tokens), final=True)
    noise = torch.randn(80, frames, generator=torch.Generator().manual_seed(SEED)).to(spoken.device)
    return flow_mel(flow, prompt, tokens, noise, final=True)


def wave_of(vocoder: Any, mel: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the waveform (samples,) of a mel; the excitation and the last transform are fp32's, the layers not."""
    device = mel.device
    with torch.inference_mode():
        f0 = vocoder.f0_predictor(mel[None])[0]
        assert harmonic_count(vocoder.m_source)
        drawn = randomness(vocoder, CounterRandom(seed=SEED, segment=0), 0, len(f0), device)
        source = upstream_source(vocoder.m_source, f0, drawn)
        widened = vocoder.conv_post.register_forward_hook(lambda _layer, _inputs, output: output.float())
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            wave = vocode(vocoder, mel, source).float()
        widened.remove()
        return wave


def logits_row(reference: torch.Tensor, logits: torch.Tensor) -> Row:
    """Return how far distributions over tokens are from the reference's."""
    sure, found = (torch.log_softmax(each.double(), dim=-1) for each in (reference, logits))
    divergences = (sure.exp() * (sure - found)).sum(dim=-1)
    agreeing = reference.argmax(dim=-1) == logits.argmax(dim=-1)
    return {
        "KL mean, nats": float(divergences.mean()),
        "KL max, nats": float(divergences.max()),
        "same best token, %": 100 * float(agreeing.double().mean()),
        "logit error max": float((reference - logits).abs().max()),
        "logit std": float(reference.std()),
    }


def mel_row(reference: torch.Tensor, mel: torch.Tensor) -> Row:
    """Return how far a mel is from the reference, which is a natural logarithm."""
    return {
        "log-mel distance, dB": decibels(reference, mel),
        "error max": float((reference - mel).abs().max()),
        "mel std": float(reference.std()),
    }


def wave_row(reference: torch.Tensor, wave: torch.Tensor) -> Row:
    """Return how far a waveform is from the reference."""
    error = reference - wave
    return {
        "sound distance, dB": sound_distance(reference, wave),
        "error of peak": float(error.abs().max() / reference.abs().max()),
        "signal to error, dB": float(
            10 * torch.log10(reference.square().sum() / error.square().sum().clamp(min=1e-30))
        ),
    }


def t3_rows(t3: Any, spoken: Spoken) -> dict[str, Row]:
    """Return T3's rows; the network is left as it was."""
    reference = t3_logits(t3, spoken)
    rows = {"fp32 again": logits_row(reference, t3_logits(t3, spoken))}
    if spoken.device.type == "cuda":
        with tf32():
            rows["tf32"] = logits_row(reference, t3_logits(t3, spoken))
    for precision in LOWER:
        lower = packed(copy.deepcopy(t3), RunningForm(precision=precision))
        rows[precision] = logits_row(reference, t3_logits(lower, spoken))
        rows[f"{precision}, head in fp32"] = logits_row(reference, t3_logits(lower, spoken, wide_head=True))
    return rows


def flow_rows(flow: Any, spoken: Spoken) -> dict[str, Row]:
    """Return the flow's rows."""
    reference = mel_of(flow, spoken)
    rows = {"fp32, as products want it": mel_row(reference, mel_of(_formed(flow, Precision.FP32), spoken))}
    if spoken.device.type == "cuda":
        with tf32():
            rows["tf32"] = mel_row(reference, mel_of(flow, spoken))
    return rows | {each: mel_row(reference, mel_of(_formed(flow, each), spoken)) for each in LOWER}


def _formed(flow: Any, precision: Precision) -> Any:
    return packed(copy.deepcopy(flow), flow_form(precision))


def vocoder_rows(vocoder: Any, mel: torch.Tensor) -> dict[str, Row]:
    """Return the vocoder's rows, which is never cast: this says why."""
    reference = wave_of(vocoder, mel)
    rows = {"fp32 again": wave_row(reference, wave_of(vocoder, mel))}
    if mel.device.type == "cuda":
        with tf32():
            rows["tf32"] = wave_row(reference, wave_of(vocoder, mel))
    types = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
    return rows | {each: wave_row(reference, wave_of(vocoder, mel, dtype)) for each, dtype in types.items()}


def spoken_by(folder: Path, model: ChatterboxModel, device: torch.device, *, tokens: int) -> tuple[Spoken, Any]:
    """Return what fp32 says with a folder's weights and voice, so many tokens at most, and its T3."""
    weights = open_weights(folder, model)
    read = read_conditionals(folder / CONDITIONALS_FILE)
    voice = VoiceConditionals.from_upstream(read.t3, read.gen).to(device)
    t3: Any = weights.load(T3).to(device)
    tokenizer, vocabulary = load_text_tokenizer(folder, model), text_vocabulary(t3.hp, model)
    request = TokenRequest(
        model=model,
        text=text_tokens(TEXT, model=model, tokenizer=tokenizer, language="en", vocabulary=vocabulary),
        voice=voice.tokens,
        sampling=replace(default_sampling(model), max_segment_tokens=tokens),
    )
    said = tuple(SpeechTokens(request, CounterRandom(seed=SEED, segment=0)).tokens(t3))
    return Spoken(weights=weights, voice=voice, request=request, tokens=said, device=device), t3


def drift(folder: Path, model: ChatterboxModel, device: torch.device, *, tokens: int) -> dict[str, dict[str, Row]]:
    """Return the rows of all modules: module → type → figures."""
    spoken, t3 = spoken_by(folder, model, device, tokens=tokens)
    found: dict[str, dict[str, Row]] = {T3: t3_rows(t3, spoken)}
    del t3
    flow, vocoder = (spoken.weights.load(each).to(device) for each in (S3GEN_FLOW, S3GEN_VOCODER))
    found[S3GEN_FLOW] = flow_rows(flow, spoken)
    found[S3GEN_VOCODER] = vocoder_rows(vocoder, mel_of(flow, spoken))
    return found


def show(model: ChatterboxModel, found: Mapping[str, Mapping[str, Row]]) -> None:
    """Print a table for each module."""
    console = Console(width=130)
    for module, rows in found.items():
        table = Table(title=f"{model}: {module} against fp32", title_justify="left")
        table.add_column("type", no_wrap=True)
        for name in next(iter(rows.values())):
            table.add_column(name, justify="right")
        for kind, row in rows.items():
            table.add_row(str(kind), *(f"{each:.3g}" for each in row.values()))
        console.print(table)


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="synthetic:tiny", help="a folder, hub or synthetic[:tiny]")
    parser.add_argument(
        "--model", type=ChatterboxModel, choices=list(ChatterboxModel), nargs="+", default=[*ChatterboxModel]
    )
    parser.add_argument("--tokens", type=int, default=200, help="how many are said at most")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    kept: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "command": shlex.join(["python", "-m", "benchmarks.drift", *sys.argv[1:]]),
        "torch": torch.__version__,
        "models": {},
    }
    for model in options.model:
        found = drift(cached_folder(options.weights, model), model, device, tokens=options.tokens)
        show(model, found)
        kept["models"][model.value] = found
        if options.out is not None:
            options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
