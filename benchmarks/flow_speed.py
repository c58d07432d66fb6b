"""The captured flow beside the eager one and upstream's: whether they are equal, and what each costs.

    python -m benchmarks.flow_speed --out flow.json              on a GPU, at full size
    python -m benchmarks.flow_speed --device cpu --size tiny     the same way, for nothing but to see that it runs
    python -m benchmarks.flow_speed --only steps,decodes         some sections

Weights are random. Each section stands alone: one that fails prints why, and the next one begins.
"""

import argparse
import gc
import json
import os
import platform
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.cuda_graphs import CudaGraphs
from benchmarks.flow_networks import Case, case_of, device_ms, random_flow, times_ms
from benchmarks.flow_together import together, whole
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.running_form import packed
from tts_service.process_settings import settle_libraries
from tts_service.speech.captured.flow_buckets import FlowBuckets
from tts_service.speech.captured.flow_decode import FlowDecode, solver_tables
from tts_service.speech.captured.flow_device_operations import DeviceOperations
from tts_service.speech.captured.flow_noise import CapturedNoise
from tts_service.speech.captured.flow_operations import FlowOperations, PlainOperations
from tts_service.speech.captured.flow_stage import CapturedFlow
from tts_service.speech.captured.flow_weights import flow_form
from tts_service.speech.captured.graphs import EagerGraphs, Graphs
from tts_service.speech.mel import mel_noise
from tts_service.speech.mel_flow import flow_mel
from tts_service.speech.random_source import CounterRandom
from tts_service.types import Precision

DTYPES: Final = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
MODELS: Final = {"english": False, "turbo": True}
"""Whether the estimator is a meanflow's."""

MIB: Final = 1 << 20
STEP_FRAMES: Final = 544
EQUAL_CASES: Final = ((522, False), (544, True), (700, False), (800, True))
DECODE_FRAMES: Final = (522, 560, 760, 1100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What every section is given, and where it puts its figures: name to value, unit, and the peer's value."""

    device: torch.device
    size: NetworkSize
    networks: dict[tuple[bool, Precision], Any]
    rows: dict[str, dict[str, Any]]

    @property
    def on_gpu(self) -> bool:
        """Whether graphs are captured, and kernels of ours are there."""
        return self.device.type == "cuda"

    def flow(self, precision: Precision, *, meanflow: bool = False) -> Any:
        """Return a network in its running form; fp32 stays as it was built."""
        key = (meanflow, precision)
        if key not in self.networks:
            made = random_flow(self.size, self.device, meanflow=meanflow)
            self.networks[key] = made if precision is Precision.FP32 else packed(made, flow_form(precision))
        return self.networks[key]

    def graphs(self) -> Graphs:
        """Return graphs with a pool of their own."""
        return CudaGraphs(self.device) if self.on_gpu else EagerGraphs(self.device)

    def stage(self, flow: Any, graphs: Graphs | None = None) -> CapturedFlow:
        """Return the stage with all lengths captured; with two on a CPU."""
        stage = CapturedFlow(
            graphs or self.graphs(), buckets=FlowBuckets() if self.on_gpu else FlowBuckets((576, 1152))
        )
        stage.capture(flow)
        return stage

    def ways(self, dtype: torch.dtype) -> dict[str, FlowOperations]:
        """Return the operations that are compared: the stage's first."""
        plain: dict[str, FlowOperations] = {"torch": PlainOperations(dtype)}
        return {"ours": DeviceOperations(dtype), **plain} if self.on_gpu else plain

    def tell(self, name: str, value: float, unit: str, peer: float | None = None) -> None:
        """Keep a figure, and print it."""
        self.rows[name] = {"value": value, "unit": unit, "peer": peer}
        print(f"{name:44} {value:11.4g} {unit:4}" + ("" if peer is None else f" peer {peer:11.4g}"), flush=True)


def equality(lab: Lab) -> None:
    """Compare with the eager flow in fp32: the mean and largest distance of log-mels, whose deviation is about 1."""
    for model, meanflow in MODELS.items():
        for precision in DTYPES:
            flow, full = lab.flow(precision, meanflow=meanflow), lab.flow(Precision.FP32, meanflow=meanflow)
            stage = lab.stage(flow)
            cases = [case_of(frames, lab.device, final=final) for frames, final in EQUAL_CASES]
            far = [(_eager(full, each) - _captured(stage, flow, each)).abs() for each in cases]
            lab.tell(f"{model} {precision.value} mean distance", max(each.mean().item() for each in far), "")
            lab.tell(f"{model} {precision.value} largest distance", max(each.max().item() for each in far), "")


def steps(lab: Lab) -> None:
    """Time a step beside torch's own functions in a graph, then by length."""
    for model, meanflow in MODELS.items():
        for precision, dtype in DTYPES.items():
            ways = lab.ways(dtype).values()
            taken = [_work_ms(lab, "step", precision, each, STEP_FRAMES, meanflow=meanflow) for each in ways]
            lab.tell(f"{model} {precision.value} step, {STEP_FRAMES} frames", taken[0], "ms", taken[-1])
    operations = next(iter(lab.ways(torch.float16).values()))
    for frames in FlowBuckets().frames if lab.on_gpu else ():
        taken_ms = _work_ms(lab, "step", Precision.FP16, operations, frames)
        lab.tell(f"english fp16 step, {frames} frames", taken_ms, "ms")


def begins(lab: Lab) -> None:
    """Time the encoder with the layout of what the solver begins from, beside torch's own functions in a graph."""
    for precision, dtype in DTYPES.items():
        for frames in (560, 1152):
            taken = [_work_ms(lab, "begin", precision, each, frames) for each in lab.ways(dtype).values()]
            lab.tell(f"{precision.value} begin, {frames} frames", taken[0], "ms", taken[-1])


def _work(decode: FlowDecode, name: str, frames: int) -> Callable[[], None]:
    return partial(decode.begin if name == "begin" else decode.step, frames)


def _work_ms(
    lab: Lab, name: str, precision: Precision, operations: FlowOperations, frames: int, *, meanflow: bool = False
) -> float:
    """Return what one of a decode's pieces of work takes when many follow each other."""
    flow, graphs, case = lab.flow(precision, meanflow=meanflow), lab.graphs(), case_of(frames, lab.device, final=True)
    with torch.inference_mode():
        decode = FlowDecode(graphs, flow, operations, solver_tables(flow.decoder, lab.device), frames=frames)
        decode.rest()
        work = graphs.capture(name, _work(decode, name, frames))
        decode.write(case.prompt, case.tokens, case.noise)
        decode.begin(frames)
        return device_ms(work, lab.device, repeats=40)


def decodes(lab: Lab) -> None:
    """Time whole decodes as the caller sees them, beside upstream's inference (fp32): medians."""
    for model, meanflow in MODELS.items():
        flow, full = lab.flow(Precision.FP16, meanflow=meanflow), lab.flow(Precision.FP32, meanflow=meanflow)
        stage = lab.stage(flow)
        for frames in DECODE_FRAMES:
            case = case_of(frames, lab.device, final=True)
            peer = times_ms(partial(_upstream, full, case), lab.device, repeats=3 if lab.on_gpu else 1, warm_up=1)
            taken = times_ms(
                partial(_captured, stage, flow, case), lab.device, repeats=31 if lab.on_gpu else 1, warm_up=3
            )
            lab.tell(f"{model} decode, {frames} frames", taken[len(taken) // 2], "ms", peer[len(peer) // 2])
            lab.tell(f"{model} decode, {frames} frames, worst", taken[-1], "ms", peer[-1])


def _eager(flow: Any, case: Case) -> torch.Tensor:
    return flow_mel(flow, case.prompt, case.tokens, case.noise, final=case.final)


def _captured(stage: CapturedFlow, flow: Any, case: Case) -> torch.Tensor:
    return stage.mel(flow, case.prompt, case.tokens, case.noise, final=case.final)


def _upstream(flow: Any, case: Case) -> None:
    meanflow = flow.decoder.estimator.meanflow
    lengths = [torch.tensor([len(each)], device=case.tokens.device) for each in (case.tokens, case.prompt.tokens)]
    with redirect_stdout(StringIO()):  # It prints a line for each call.
        flow.inference(
            token=case.tokens[None],
            token_len=lengths[0],
            prompt_token=case.prompt.tokens[None],
            prompt_token_len=lengths[1],
            prompt_feat=case.prompt.mel[None],
            prompt_feat_len=None,
            embedding=case.prompt.speaker[None],
            finalize=True,
            n_timesteps=2 if meanflow else 10,
            meanflow=meanflow,
        )


def noise(lab: Lab) -> None:
    """Compare the noise in one graph with the eager one: how many bits differ, and how long it takes."""
    stage, random = CapturedNoise(lab.graphs(), frames=1216), CounterRandom(seed=5, segment=2, device=lab.device)
    with torch.inference_mode():
        stage.capture()
        drawn, eager = (partial(each, random, 500, 86, 60) for each in (stage.drawn, mel_noise))
        lab.tell("noise, numbers that differ", (drawn() != eager()).sum().item(), "")
        taken = [times_ms(work, lab.device, repeats=9)[4] for work in (drawn, eager)]
        lab.tell("noise", taken[0], "ms", taken[1])


def memory(lab: Lab) -> None:
    """Tell what all lengths hold: torch's pool and buffers, what the driver keeps, and cuBLAS's workspace besides."""
    for model, meanflow in MODELS.items() if lab.on_gpu else ():
        flow = lab.flow(Precision.FP16, meanflow=meanflow)
        kept = lab.stage(flow)  # What the first capture loads and reserves for good is not the graphs'.
        del kept
        gc.collect()
        torch.cuda.empty_cache()
        graphs, numbers = lab.graphs(), torch.ones(256, 256, dtype=torch.float16, device=lab.device)
        reserved = torch.cuda.memory_reserved(lab.device)
        graphs.capture("workspace", partial(torch.mm, numbers, numbers))  # type: ignore[arg-type]  # Its result is nobody's.
        lab.tell(f"{model} workspace", (torch.cuda.memory_reserved(lab.device) - reserved) / MIB, "MiB")
        reserved, free = torch.cuda.memory_reserved(lab.device), torch.cuda.mem_get_info(lab.device)[0]
        begin = time.perf_counter()
        stage = lab.stage(flow, graphs)
        lab.tell(f"{model} capturing all lengths", time.perf_counter() - begin, "s")
        torch.cuda.synchronize(lab.device)
        torch.cuda.empty_cache()
        pool = torch.cuda.memory_reserved(lab.device) - reserved
        taken = free - torch.cuda.mem_get_info(lab.device)[0]
        lab.tell(f"{model} pool and buffers", pool / MIB, "MiB")
        lab.tell(f"{model} graphs in the driver", (taken - pool) / MIB, "MiB")
        print(stage)


def profile(lab: Lab) -> None:
    """Tell the fifteen kernels that a step and a beginning spend most on."""
    for name in ("step", "begin") if lab.on_gpu else ():
        flow, graphs = lab.flow(Precision.FP16), lab.graphs()
        with torch.inference_mode():
            tables = solver_tables(flow.decoder, lab.device)
            decode = FlowDecode(graphs, flow, DeviceOperations(torch.float16), tables, frames=STEP_FRAMES)
            decode.rest()
            _print_kernels(name, graphs.capture(name, _work(decode, name, STEP_FRAMES)), lab, replays=20)


def _print_kernels(name: str, work: Callable[[], None], lab: Lab, *, replays: int) -> None:
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415  # Slow to import.

    torch.cuda.synchronize(lab.device)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(replays):
            work()
        torch.cuda.synchronize(lab.device)
    found = sorted(seen.key_averages(), key=lambda each: -each.self_device_time_total)
    lab.tell(f"{name}'s kernels", sum(each.self_device_time_total for each in found) / replays, "us")
    lab.tell(f"{name}'s launches", sum(each.count for each in found) / replays, "")
    for each in found[:15]:
        taken, count = each.self_device_time_total, each.count
        print(f"   {taken / replays:8.1f} us {count / replays:4.0f} x {taken / count:6.2f}  {each.key[:100]}")


SECTIONS: Final = (equality, steps, begins, memory, noise, decodes, together, whole, profile)


def main() -> None:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=[each.value for each in NetworkSize], default=NetworkSize.FULL.value)
    parser.add_argument("--only", default=",".join(each.__name__ for each in SECTIONS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    settle_libraries(os.environ)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    lab = Lab(device=torch.device(asked.device), size=NetworkSize(asked.size), networks={}, rows={})
    if not lab.on_gpu:
        torch.set_num_threads(1)
    for section in (each for each in SECTIONS if each.__name__ in asked.only.split(",")):
        print(f"\n== {section.__name__}: {(section.__doc__ or '').splitlines()[0]}", flush=True)
        begin = time.perf_counter()
        try:
            section(lab)
        except Exception:  # noqa: BLE001  # Printed; the other sections are wanted all the same.
            traceback.print_exc()
        gc.collect()
        print(f"-- {time.perf_counter() - begin:.1f} s", flush=True)
    if asked.out is not None:
        asked.out.write_text(json.dumps({**_about(lab), "rows": lab.rows}, indent=2) + "\n")


def _about(lab: Lab) -> dict[str, Any]:
    given = [Path(each).name if "/" in each else each for each in sys.argv[1:]]
    return {
        "device": torch.cuda.get_device_name(lab.device) if lab.on_gpu else "CPU",
        "command": shlex.join(["python", "-m", "benchmarks.flow_speed", *given]),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
