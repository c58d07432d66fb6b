"""Whether host masters are worth compressing: what that saves, and how fast they would come back.

    python -m benchmarks.master_size                        tiny synthetic weights
    python -m benchmarks.master_size --weights synthetic    full size, made into the cache
    python -m benchmarks.master_size --weights FOLDER --threads 8

Each module's master is taken in the form in which it runs on a GPU, in whole and as planes of bytes (all first bytes,
then all second ones: exponents together). Entropy bounds what any coder of single bytes can reach. zlib is everywhere;
zstd and lz4 are measured where their packages are. A restore is bound by the slower of decompressing and copying what
was decompressed, so it pays only beyond the rate of the pinned copy.
"""

import argparse
import importlib
import json
import math
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch

from benchmarks.cached_weights import cached_folder
from tts_service.config import Precisions
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.loading import open_weights
from tts_service.running_forms import running_forms

COPY_GB_PER_SECOND: Final = 55.0
"""Pinned host memory to the device over PCIe 5 x16, measured on an H100."""

PIECE_BYTES: Final = 4 << 20
SAMPLE_PIECES: Final = 16
"""Of each module, evenly spread."""

Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]
"""What compresses, and what brings back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What one way of keeping a module saves. Rates count bytes that come out."""

    module: str
    way: str
    kept: float
    threads: int
    gb_per_second: float | None

    @property
    def restore_ms_per_gib(self) -> float | None:
        """How long a GiB of weights would take to come back, if copying goes on beside decompressing."""
        if self.gb_per_second is None:
            return None
        return 1000 * (1 << 30) / 1e9 / min(self.gb_per_second, COPY_GB_PER_SECOND)


def codecs() -> Iterator[tuple[str, Codec]]:
    """Yield what can be measured here."""
    yield "zlib -1", (lambda data: zlib.compress(data, 1), zlib.decompress)
    for name in ("zstandard", "lz4.frame"):
        try:
            package = importlib.import_module(name)
        except ImportError:
            continue
        yield name, (package.compress, package.decompress)


def planes(values: bytes, width: int) -> bytes:
    """Return the first bytes of all values, then all second ones, and so on."""
    return torch.frombuffer(bytearray(values), dtype=torch.uint8).view(-1, width).t().contiguous().numpy().tobytes()


def entropy_of_planes(values: bytes, width: int) -> float:
    """Return the bits that a byte needs on average, if each plane's bytes are coded one by one, over 8."""
    columns = torch.frombuffer(bytearray(values), dtype=torch.uint8).view(-1, width)
    bits = 0.0
    for column in columns.unbind(1):
        share = torch.bincount(column.int(), minlength=256).double() / len(column)
        bits -= float((share[share > 0] * share[share > 0].log2()).sum())
    return bits / (8 * width)


def savings(module: str, pieces: list[bytes], width: int, threads: int) -> Iterator[Saving]:
    """Yield what each way saves of these pieces of a master, of numbers of so many bytes."""
    bound = sum(entropy_of_planes(piece, width) for piece in pieces) / len(pieces)
    yield Saving(module=module, way="entropy of planes", kept=bound, threads=0, gb_per_second=None)
    for shuffled in (False, True):
        given = [planes(piece, width) if shuffled else piece for piece in pieces]
        for name, (compress, decompress) in codecs():
            small = [compress(piece) for piece in given]
            kept = sum(map(len, small)) / sum(map(len, given))
            rate = _rate(small, decompress, sum(map(len, given)), threads)
            way = f"{name}, {'planes' if shuffled else 'as it is'}"
            yield Saving(module=module, way=way, kept=kept, threads=threads, gb_per_second=rate)


def _rate(small: list[bytes], decompress: Callable[[bytes], bytes], byte_count: int, threads: int) -> float:
    best = math.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(2):
            began = time.perf_counter()
            list(pool.map(decompress, small))
            best = min(best, time.perf_counter() - began)
    return byte_count / best / 1e9


def sampled(memory: torch.Tensor) -> list[bytes]:
    """Return pieces of a master (one dimension of uint8), evenly spread."""
    count = max(1, min(SAMPLE_PIECES, len(memory) // PIECE_BYTES))
    step = len(memory) // count
    sizes = min(PIECE_BYTES, step) // 8 * 8
    return [memory[begin : begin + sizes].numpy().tobytes() for begin in range(0, count * step, step)]


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="synthetic:tiny", help="a folder, hub or synthetic[:tiny]")
    parser.add_argument("--model", type=ChatterboxModel, choices=list(ChatterboxModel), default=ChatterboxModel.ENGLISH)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    forms = running_forms(Precisions(), torch.device("cuda"))
    weights = open_weights(cached_folder(options.weights, options.model), options.model, forms=forms)
    rows = []
    print(f"{'module':24} {'way':26} {'kept':>6} {'GB/s':>7} {'ms/GiB':>7} (a pinned copy: {1073.7 / 55:.1f})")
    for module in weights.modules:
        memory, width = weights.read_master(module).bytes_, 4
        if module in forms:
            width = torch.finfo(forms[module].of_tensor("weight", torch.float32, (1, 1)).dtype).bits // 8
        for row in savings(module, sampled(memory), width, options.threads):
            rate, back = row.gb_per_second, row.restore_ms_per_gib
            told = "" if rate is None or back is None else f"{rate:7.2f} {back:7.0f}"
            print(f"{module:24} {row.way:26} {row.kept:6.3f} {told}", flush=True)
            rows.append(asdict(row))
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
