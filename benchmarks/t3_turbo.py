"""Turbo's step in `t3_speed`: with tokens in order and without, and with one thing tuned otherwise at a time."""

from typing import Any, Final

from benchmarks.t3_rig import SINGLE, WAYS, Lab, Rig, burst_ms, fill, list_kernels, prompt_ms
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.t3_passes import Buckets

TURBO: Final = ChatterboxModel.TURBO
TUNINGS: Final[dict[str, dict[str, Any]]] = {
    "as usual": {},
    "one kernel after another": {"early": False},
    "joined in the product": {"joins_apart": False},
    "4 shares": {"shares": 4},
    "8 shares": {"shares": 8},
    "32 positions": {"positions": 32},
    "few: 4 outputs": {"few_outputs": 4},
    "few: 2 outputs, 2 warps": {"few_outputs": 2, "few_warps": 2},
    "few: 8 warps": {"few_warps": 8},
    "many: 2 outputs": {"many_outputs": 2},
    "many: 8 outputs": {"many_outputs": 8},
    "many: 4 warps": {"many_warps": 4},
}


def measure_turbo(lab: Lab) -> None:
    """Measure Turbo's step with and without an order of tokens, and its prompt."""
    for way, few_lines in WAYS:
        rig = Rig(lab, TURBO, lab.fast, SINGLE, few_lines=few_lines)
        fill(rig.pages)
        for name, settings in (("top-k, top-p", {}), ("no order", {"top_k": 0, "top_p": 1.0})):
            slot = rig.open(rig.prompt(400), **settings)
            figure = f"{TURBO} {way} {name}"
            step = lab.tell(f"{figure}: step at 600", rig.step_ms([slot], 600), "ms")
            print(f"turbo {way:8} {name:13} step {step:.3f} ms, burst {burst_ms(rig, [slot], figure)}")
            rig.captured.end(slot)
        print(f"turbo {way:8} prompt of 416: {prompt_ms(rig, 416):.2f} ms")


def measure_tunings(lab: Lab) -> None:
    """Measure Turbo's step with one thing tuned otherwise at a time, and list the kernels of the usual one."""
    buckets = Buckets(slots=(1,), rows=(1,), prompts=(64,), orders=(False, True))
    for name, tuning in TUNINGS.items():
        rig = Rig(lab, TURBO, lab.fast, buckets, **tuning)
        fill(rig.pages)
        slot = rig.open(rig.prompt(60))
        step = lab.tell(f"{TURBO} {name}: step at 600", rig.step_ms([slot], 600), "ms")
        print(f"turbo {name:24} step {step:.3f} ms")
        if not tuning and lab.is_cuda:
            list_kernels(rig, slot, 600)
        rig.captured.end(slot)
