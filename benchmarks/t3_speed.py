"""Captured T3 beside the eager one: whether they are equal, and what each part costs.

    python -m benchmarks.t3_speed --out t3.json               on a GPU, at full size
    python -m benchmarks.t3_speed --device cpu --size tiny    the same way, for nothing but to see that it runs
    python -m benchmarks.t3_speed --only steps,products       some sections

Weights are random. Each section stands alone: one that fails prints why, and the next one begins.
"""

import argparse
import json
import platform
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.t3_pieces import measure_attention, measure_products
from benchmarks.t3_rig import (
    LIBRARY,
    MIB,
    SINGLE,
    WAYS,
    Lab,
    Rig,
    burst_ms,
    device_ms,
    eager_logits,
    fill,
    list_kernels,
    prompt_ms,
)
from benchmarks.t3_turbo import measure_tunings, measure_turbo
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.speech.captured.t3_passes import Buckets
from tts_service.speech.captured.token_stream import CapturedTokens
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_tokens import SpeechTokens, TokenRequest
from tts_service.speech.token_prompt import prompt_embeddings
from tts_service.types import Precision

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
FORCED_TOKENS: Final = list(range(100, 140))
POSITIONS: Final = (100, 300, 900)
PAIR: Final = Buckets(slots=(1,), rows=(2,), prompts=(64, 128))


def equality(lab: Lab) -> None:
    """Compare logits in fp32 and bf16 with the eager network's in fp32, over prompt, page border and 40 tokens."""
    for model, buckets, length in ((ENGLISH, PAIR, 60), (TURBO, SINGLE, 400)):
        exact = lab.network(model, Precision.FP32)
        embeddings = Rig.random_prompt(lab, exact, buckets.rows[-1], length)
        want = eager_logits(exact, embeddings, FORCED_TOKENS)
        for precision in dict.fromkeys((Precision.FP32, lab.fast)):
            for way, few_lines in WAYS:
                rig = Rig(lab, model, precision, buckets, few_lines=few_lines)
                fed = embeddings.to(rig.t3.speech_head.weight.dtype)
                _compare(lab, f"{model} {precision} {way}", want, rig.forced_logits(fed, FORCED_TOKENS))
            if precision is not Precision.FP32:
                _compare(lab, f"{model} {precision} eager", want, eager_logits(rig.t3, fed, FORCED_TOKENS))


def _compare(lab: Lab, name: str, want: torch.Tensor, got: torch.Tensor) -> None:
    wanted, found = torch.log_softmax(want, -1), torch.log_softmax(got, -1)
    divergence = (wanted.exp() * (wanted - found)).sum(-1)
    far = (want - got).abs().amax(dim=(1, 2))
    lab.tell(f"{name} logits: largest difference", far.max().item(), "")
    lab.tell(f"{name} logits: mean divergence", divergence.mean().item(), "nat")
    print(
        f"{name:24} largest {far.max():.2e} (prompt {far[0]:.2e}, last {far[-1]:.2e}) of std {want.std():.2f},"
        f" KL mean {divergence.mean():.2e} largest {divergence.max():.2e}"
    )


def tokens(lab: Lab) -> None:
    """Compare whole streams in fp32, by seeds."""
    for model, buckets in ((ENGLISH, PAIR), (MULTILINGUAL, PAIR), (TURBO, SINGLE)):
        t3 = lab.network(model, Precision.FP32)
        for way, few_lines in WAYS:
            rig = Rig(lab, model, Precision.FP32, buckets, few_lines=few_lines)
            same = []
            for seed in range(3):
                asked = _request(lab, model)
                eager = SpeechTokens(asked, CounterRandom(seed=seed, segment=0))
                ours = CapturedTokens(asked, CounterRandom(seed=seed, segment=0), rig.captured)
                list(eager.tokens(t3))
                while ours.finish is None:
                    ours.advance(t3)
                pairs = zip(eager.history, ours.history, strict=False)
                alike = next((n for n, (a, b) in enumerate(pairs) if a != b), len(eager.history))
                same.append(f"{alike} of {len(eager.history)}")
                lab.tell(f"{model} fp32 {way} seed {seed}: share of tokens alike", alike / len(eager.history), "")
            print(f"{model} fp32 {way}: first tokens alike {', '.join(same)}; {rig.pages!r}")


def _request(lab: Lab, model: ChatterboxModel, most: int = 60) -> TokenRequest:
    text = torch.randint(1, 250, (24,), generator=torch.Generator().manual_seed(1))
    if model is not TURBO:
        text[0], text[-1] = 255, 0
    sampling = type(default_sampling(model))(**{**_settings(model), "max_segment_tokens": most})
    return TokenRequest(model=model, text=text, voice=lab.voice(model), sampling=sampling, watch_loops=False)


def _settings(model: ChatterboxModel) -> dict[str, Any]:
    sampling = default_sampling(model)
    return {name: getattr(sampling, name) for name in type(sampling).__dataclass_fields__}


def steps(lab: Lab) -> None:
    """Measure a step, sampling included, by batch and position, with both kinds of products."""
    print(f"{'pairs':>5} {'products':9} {'ms at 100':>9} {'300':>7} {'900':>7} | burst of 8, wall ms | capture s")
    for pairs in (1, 4, 16, 32):
        buckets = Buckets(slots=(pairs,), rows=(2,), prompts=(64,), orders=(False,))
        for way, few_lines in WAYS if pairs * 2 <= 8 else WAYS[1:]:  # noqa: PLR2004  # Ours are for few lines.
            rig = Rig(lab, ENGLISH, lab.fast, buckets, few_lines=few_lines if few_lines == LIBRARY else pairs * 2)
            fill(rig.pages)
            slots = [rig.open(rig.prompt(60)) for _ in range(pairs)]
            times = _steps_ms(rig, slots, f"{ENGLISH} {pairs} pairs {way}")
            print(
                f"{pairs:5} {way:9} {times[0]:9.3f} {times[1]:7.3f} {times[2]:7.3f} |",
                burst_ms(rig, slots, f"{ENGLISH} {pairs} pairs {way}"),
                f"| {rig.capture_seconds:.2f}",
            )


def _steps_ms(rig: Rig, slots: list[Any], name: str) -> list[float]:
    return [rig.lab.tell(f"{name}: step at {each}", rig.step_ms(slots, each), "ms") for each in POSITIONS]


def guard(lab: Lab) -> None:
    """Measure Multilingual's step, whose alignment guard looks at the text as well; with tokens in order too."""
    rig = Rig(lab, MULTILINGUAL, lab.fast, PAIR)
    fill(rig.pages)
    for name, settings in (("usual", {}), ("top-p", {"top_p": 0.9})):
        slot = rig.open(rig.prompt(60), **settings)
        times = ", ".join(f"{each:.3f}" for each in _steps_ms(rig, [slot], f"{MULTILINGUAL} 1 pair {name}"))
        print(f"multilingual {name}: step at 100, 300, 900: {times} ms")
        rig.captured.end(slot)


def prompts(lab: Lab) -> None:
    """Measure reading a prompt by its bucket, the eager way beside it, and making its embeddings."""
    lengths = (64, 96, 128, 192, 256, 384)
    rig = Rig(lab, ENGLISH, lab.fast, Buckets(slots=(1,), rows=(2,), prompts=lengths, orders=(False,)))
    print("positions: ms |", ", ".join(f"{length}: {prompt_ms(rig, length):.2f}" for length in lengths))
    eager = device_ms(lab, lambda: eager_logits(rig.t3, rig.prompt(128), []), 3)
    print(f"eager 128: {lab.tell(f'{ENGLISH} eager prompt of 128', eager, 'ms'):.2f} ms")
    asked = _request(lab, ENGLISH)

    def conditioning() -> None:
        with torch.inference_mode():
            prompt_embeddings(rig.t3, asked.voice, asked.text, exaggeration=0.5, cfg_weight=0.5)

    made = lab.tell(f"{ENGLISH} prompt's embeddings", device_ms(lab, conditioning, 5), "ms")
    print(f"prompt_embeddings: {made:.2f} ms")


def memory(lab: Lab) -> None:
    """Say what the usual English graphs hold on the device, and how long they took."""
    if not lab.is_cuda:
        return
    t3 = lab.network(ENGLISH, lab.fast)
    torch.cuda.empty_cache()
    free, reserved = torch.cuda.mem_get_info(lab.device)[0], torch.cuda.memory_reserved(lab.device)
    rig = Rig(lab, ENGLISH, lab.fast, Buckets.of(ENGLISH, 16), pages=Rig.few_pages(lab, t3))
    taken = free - torch.cuda.mem_get_info(lab.device)[0]
    lab.tell("usual English graphs: device memory", taken / MIB, "MiB")
    lab.tell("usual English graphs: pages of them", rig.pages.tensor.nbytes / MIB, "MiB")
    lab.tell("usual English graphs: captured in", rig.capture_seconds, "s")
    print(f"usual English graphs: {rig.captured!r}")
    print(
        f"device {taken / MIB:.0f} MiB, torch's {(torch.cuda.memory_reserved(lab.device) - reserved) / MIB:.0f} MiB (of"
        f" them pages {rig.pages.tensor.nbytes / MIB:.0f}), captured in {rig.capture_seconds:.2f} s"
    )


def kernels(lab: Lab) -> None:
    """List the kernels of 20 steps of one pair at position 300, both ways."""
    if not lab.is_cuda:
        return
    for way, few_lines in WAYS:
        rig = Rig(lab, ENGLISH, lab.fast, PAIR, few_lines=few_lines)
        fill(rig.pages)
        slot = rig.open(rig.prompt(60))
        print(f"--- {way}")
        list_kernels(rig, slot, 300)


SECTIONS: Final[dict[str, Callable[[Lab], None]]] = {
    "equality": equality,
    "steps": steps,
    "tokens": tokens,
    "turbo": measure_turbo,
    "tunings": measure_tunings,
    "guard": guard,
    "prompts": prompts,
    "products": measure_products,
    "attention": measure_attention,
    "memory": memory,
    "kernels": kernels,
}


def main() -> None:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=[each.value for each in NetworkSize], default=NetworkSize.FULL.value)
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.device == "cpu":
        torch.set_num_threads(1)
    lab = Lab(device=torch.device(given.device), size=NetworkSize(given.size))
    for name in given.only.split(","):
        begin = time.perf_counter()
        print(f"=== {name}", flush=True)
        try:
            with torch.inference_mode():
                SECTIONS[name](lab)
        except Exception:  # noqa: BLE001  # The next section says more.
            traceback.print_exc()
        print(f"    ({time.perf_counter() - begin:.1f} s)", flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps({**_about(lab), "rows": lab.rows}, indent=2) + "\n")


def _about(lab: Lab) -> dict[str, str]:
    """Return what the figures were found with; of paths the names."""
    given = [Path(each).name if "/" in each else each for each in sys.argv[1:]]
    return {
        "device": torch.cuda.get_device_name(lab.device) if lab.is_cuda else "CPU",
        "command": shlex.join(["python", "-m", "benchmarks.t3_speed", *given]),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
