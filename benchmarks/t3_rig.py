"""What `t3_speed` measures with: full-size networks with random weights, and captured T3 over them in several ways."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cuda_graphs import CudaGraphs
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.running_form import packed
from tts_service.models.chatterbox.t3_network import build_t3
from tts_service.speech.captured.graphs import EagerGraphs, Graphs
from tts_service.speech.captured.t3_captured import CapturedT3, Slot
from tts_service.speech.captured.t3_passes import Buckets
from tts_service.speech.captured.t3_state import Number
from tts_service.speech.captured.t3_tuning import chains
from tts_service.speech.captured.t3_ways import kernel_ways, torch_ways
from tts_service.speech.captured.t3_weights import t3_form
from tts_service.speech.captured.token_pages import PageShape, TensorPages
from tts_service.speech.sampling import default_sampling
from tts_service.speech.token_backbone import run_backbone
from tts_service.speech.token_cache import KeyValueCache
from tts_service.speech.token_prompt import TokenVoice, token_embedding
from tts_service.types import Precision

MIB: Final = 1 << 20
OWN, LIBRARY = 1 << 10, 0
"""Up to how many lines our own products are taken: always, never."""

WAYS: Final = (("own", OWN), ("library", LIBRARY))

SINGLE: Final = Buckets(slots=(1,), rows=(1,), prompts=(416,))

_DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}


@dataclass(slots=True, kw_only=True)
class Lab:
    """The device and the networks, each made once."""

    device: torch.device
    size: NetworkSize
    networks: dict[tuple[ChatterboxModel, Precision], Any] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Figures that were found: name to value and unit."""

    @property
    def is_cuda(self) -> bool:
        """Whether there is something to measure."""
        return self.device.type == "cuda"

    @property
    def fast(self) -> Precision:
        """What weights run in."""
        return Precision.BF16 if self.is_cuda else Precision.FP32

    def network(self, model: ChatterboxModel, precision: Precision) -> Any:
        """Return a network with the same random weights in any precision."""
        if (model, precision) not in self.networks:
            self.networks[model, precision] = _network(model, precision, self.size, self.device)
        return self.networks[model, precision]

    def tell(self, name: str, value: float, unit: str) -> float:
        """Keep a figure, and return it."""
        self.rows[name] = {"value": float(value), "unit": unit}
        return value

    def graphs(self) -> Graphs:
        """Return graphs with a pool of their own."""
        return CudaGraphs(self.device) if self.is_cuda else EagerGraphs(self.device)

    def wait(self) -> None:
        """Wait for the device."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def voice(self, model: ChatterboxModel) -> TokenVoice:
        """Return a random voice of the usual length."""
        count = self.network(model, self.fast).hp.speech_cond_prompt_len
        generator = torch.Generator().manual_seed(1)
        return TokenVoice(
            speaker=torch.randn(256, generator=generator) / 16,
            tokens=torch.randint(0, 6561, (count,), generator=generator),
        )


def _network(model: ChatterboxModel, precision: Precision, size: NetworkSize, device: torch.device) -> Any:
    t3: Any = build_t3(model, size)
    frequencies = None if t3.is_gpt else t3.tfmr.rotary_emb.inv_freq.clone()
    t3 = t3.to_empty(device=device)
    if frequencies is not None:
        t3.tfmr.rotary_emb.inv_freq.copy_(frequencies)
    generator = torch.Generator(device).manual_seed(7)
    for name, weight in t3.named_parameters():
        if weight.ndim < 2:  # noqa: PLR2004  # Norms and biases.
            weight.data.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            inputs = weight.shape[0] if ".h." in name else weight.shape[-1]
            spread = 0.5 if "emb" in name or "wpe" in name else 1.5 / inputs**0.5
            weight.data.normal_(0.0, spread, generator=generator)
    return packed(t3, t3_form(precision))


class Rig:
    """Captured T3 over one of the lab's networks."""

    def __init__(
        self,
        lab: Lab,
        model: ChatterboxModel,
        precision: Precision,
        buckets: Buckets,
        *,
        pages: TensorPages | None = None,
        few_lines: int = 4,
        **tuning: Any,
    ) -> None:
        self.lab, self.model, self.t3 = lab, model, lab.network(model, precision)
        self.rows = buckets.rows[-1]
        shape = PageShape.of(self.t3)
        count = 20 * self.rows * buckets.slots[-1]
        self.pages = pages or TensorPages(shape, pages=count, dtype=_DTYPES[precision], device=lab.device)
        tuned = {"early": chains(lab.device), **tuning}
        ways = kernel_ways(model, few_lines, **tuned) if lab.is_cuda else torch_ways(model)
        self.captured = CapturedT3(
            model=model, t3=self.t3, graphs=lab.graphs(), pages=self.pages, buckets=buckets, ways=ways
        )
        lab.wait()
        begin = time.perf_counter()
        with torch.inference_mode():
            self.captured.capture(self.t3)
        lab.wait()
        self.capture_seconds = time.perf_counter() - begin

    def open(self, embeddings: torch.Tensor, **settings: Any) -> Slot:
        """Open a slot with a prompt (rows, positions, channels)."""
        sampling = replace(default_sampling(self.model), **settings)
        return self.captured.begin(self.t3, embeddings, text_span=(34, 60), sampling=sampling, key=5, burst=8)

    def prompt(self, positions: int) -> torch.Tensor:
        """Return random embeddings of a prompt."""
        return self.random_prompt(self.lab, self.t3, self.rows, positions)

    @staticmethod
    def random_prompt(lab: Lab, t3: Any, rows: int, positions: int) -> torch.Tensor:
        """Return random embeddings (rows, positions, channels), the same in any precision to rounding."""
        generator = torch.Generator(lab.device).manual_seed(3)
        made = torch.randn(rows, positions, t3.dim, device=lab.device, generator=generator)
        return made.to(t3.speech_head.weight.dtype)

    @staticmethod
    def few_pages(lab: Lab, t3: Any) -> TensorPages:
        """Return as many pages as one segment needs."""
        return TensorPages(PageShape.of(t3), pages=36, dtype=t3.speech_head.weight.dtype, device=lab.device)

    def place(self, slots: Sequence[Slot], position: int) -> None:
        """Pretend that slots have come so far, with whatever is in their pages."""
        for slot in slots:
            slot.positions = position
            self.captured._extend(slot, position + 64)  # noqa: SLF001  # A measurement.
            self.captured._state.numbers[slot.index, Number.POSITION] = position  # noqa: SLF001  # The same.

    def step_ms(self, slots: Sequence[Slot], position: int, replays: int = 20) -> float:
        """Return a step's milliseconds on the device, sampling included."""
        passes = self.captured._passes  # noqa: SLF001  # A measurement.
        self.place(slots, position)
        bucket = passes.set_slots([slot.index for slot in slots], self.rows)
        return device_ms(self.lab, lambda: passes.step(bucket, self.rows, ordered=slots[0].ordered), replays)

    def forced_logits(self, embeddings: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """Return the logits (steps, rows, vocabulary) after a prompt and after each of these tokens."""
        captured = self.captured
        slot = self.open(embeddings)
        found = [captured._passes._logits[: self.rows].clone()]  # noqa: SLF001  # A measurement.
        for token in tokens:
            captured._state.numbers[slot.index, Number.LAST] = token  # noqa: SLF001  # The same.
            captured.queue(self.t3, [slot], 1)
            found.append(captured._passes._logits[: self.rows].clone())  # noqa: SLF001  # The same.
        captured.end(slot)
        return torch.stack(found)


def eager_logits(t3: Any, embeddings: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Return the same from the eager backbone."""
    cache, found = KeyValueCache(), []
    with torch.inference_mode():
        for step, token in enumerate([None, *tokens]):
            fed = embeddings if token is None else token_embedding(t3, token, position=step, rows=len(embeddings))
            found.append(t3.speech_head(run_backbone(t3, fed, cache)[0]).float())
    return torch.stack(found)


def fill(pages: TensorPages) -> None:
    """Write something harmless into all pages."""
    pages.tensor.normal_(0.0, 0.5)


def device_ms(lab: Lab, work: Callable[[], object], times: int = 20) -> float:
    """Return the milliseconds of one turn of work on the device, of so many queued at once; the median of three."""
    found: list[float] = []
    for _ in range(3):
        work()
        lab.wait()
        begin = time.perf_counter()
        if lab.is_cuda:
            first, last = _event(), _event()
            first.record()
        for _ in range(times if lab.is_cuda else 1):
            work()
        if lab.is_cuda:
            last.record()
            lab.wait()
            found.append(first.elapsed_time(last) / times)
        else:
            found.append((time.perf_counter() - begin) * 1000)
    return statistics.median(found)


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's.


def spread(values: Sequence[float]) -> str:
    """Return the median and the 99th percentile."""
    ordered = sorted(values)
    return f"{statistics.median(ordered):.2f} (p99 {ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]:.2f})"


def burst_ms(rig: Rig, slots: list[Any], name: str) -> str:
    """Time bursts as a stream makes them, in wall time."""
    found = []
    for _ in range(10):
        rig.place(slots, 300)
        rig.lab.wait()
        begin = time.perf_counter()
        for slot in slots[:1]:
            slot.steps = 8
        rig.captured.queue(rig.t3, slots, 8)
        rig.captured.fetch(slots, 8)
        found.append((time.perf_counter() - begin) * 1000)
    rig.lab.tell(f"{name}: burst of 8, wall", statistics.median(found), "ms")
    return spread(found)


def prompt_ms(rig: Rig, length: int) -> float:
    """Return, and keep, the milliseconds of reading a prompt of so many positions."""
    embeddings = rig.prompt(length)
    slot = rig.open(embeddings)
    passes = rig.captured._passes  # noqa: SLF001  # A measurement of what is inside.
    rig.place([slot], length - 1)
    passes.set_slots([slot.index], rig.rows)

    def read() -> None:
        rig.captured._state.numbers[slot.index, Number.POSITION] = length - 1  # noqa: SLF001  # The same.
        passes.prompt(embeddings, ordered=slot.ordered)

    found = device_ms(rig.lab, read, 5)
    rig.captured.end(slot)
    return rig.lab.tell(f"{rig.model} prompt of {length}", found, "ms")


def list_kernels(rig: Rig, slot: Any, position: int) -> None:
    """Print which kernels a step at this position has, and how long each takes."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        rig.step_ms([slot], position, replays=6)
    print("of 21 steps:")
    print(seen.key_averages().table(sort_by="cuda_time_total", row_limit=15, max_name_column_width=48))
