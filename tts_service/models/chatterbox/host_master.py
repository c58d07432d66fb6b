"""A module's weights in host memory, in the form in which they run: one piece, each tensor at its place in it.

One piece, because memory that is taken at once goes back to the operating system at once, and because a device arena of
the same form can be filled from it in one copy. The file is read straight into it, or, where the form is another than
the file's, through a small piece of memory for each thread that reads. So loading holds nothing twice. Mapping the file
instead was tried: its pages count as resident beside the copy, and without a copy a file that is truncated later kills
the process.
"""

import io
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import Enum
from typing import Final

import torch

from tts_service.models.chatterbox.running_form import AS_TRAINED, RunningForm, TensorForm, placed
from tts_service.models.chatterbox.weight_file import StoredTensor
from tts_service.models.host_pages import own_pages

READ_BYTES: Final = 4 << 20
"""What one thread reads at once: small enough to be checked and cast while it is in the processor's cache."""

MOST_READERS: Final = 8
"""Threads; with more, page faults wait for each other."""


class EndOfFileError(Exception):
    """A file ended before its weights did."""


class Unfit(Enum):
    """What is wrong with a tensor's values."""

    NOT_FINITE = "holds NaN or infinite values; download the file again"
    TOO_LARGE = "holds values too large for the type that it is to run in; set another precision for this module"


@dataclass(frozen=True, slots=True)
class HostMaster:
    """A module's memory: `bytes_` (one dimension of uint8), and the tensors by name, which are views of it."""

    bytes_: torch.Tensor
    tensors: Mapping[str, torch.Tensor]

    def __repr__(self) -> str:
        return f"<HostMaster {len(self.tensors)} tensors | {self.bytes_.nbytes / 2**20:.1f} MiB>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Rows of a tensor (entries of its first dimension), their bytes in the file, and their place in memory."""

    name: str
    dtype: torch.dtype
    start_byte: int
    byte_count: int
    target: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Batch:
    """Pieces that lie one after the other in the file and are read at once."""

    pieces: tuple[_Piece, ...]

    @property
    def byte_count(self) -> int:
        return sum(piece.byte_count for piece in self.pieces)


def allocate_master(
    stored: Mapping[str, StoredTensor],
    form: RunningForm = AS_TRAINED,
    *,
    memory_of: Callable[[int], torch.Tensor] = own_pages,
) -> HostMaster:
    """Return memory for these tensors in this form, with nothing in it yet but what `memory_of` gives."""
    forms = {name: _form(name, each, form) for name, each in stored.items()}
    sizes = _sizes(stored, form)
    begins, byte_count = placed(sizes, form)
    memory = memory_of(byte_count)
    views = {
        name: forms[name].empty_in(memory[begins[name] : begins[name] + sizes[name]], each.shape)
        for name, each in stored.items()
    }
    return HostMaster(memory, views)


def tensor_places(stored: Mapping[str, StoredTensor], form: RunningForm) -> dict[str, tuple[int, TensorForm]]:
    """Return where each tensor begins in such memory, and its form there."""
    begins, _ = placed(_sizes(stored, form), form)
    return {name: (begins[name], _form(name, each, form)) for name, each in stored.items()}


def placed_bytes(stored: Mapping[str, StoredTensor], form: RunningForm = AS_TRAINED) -> int:
    """Return how much memory a master of these tensors takes in this form."""
    return placed(_sizes(stored, form), form)[1]


def _sizes(stored: Mapping[str, StoredTensor], form: RunningForm) -> dict[str, int]:
    return {name: math.prod(each.shape) * _form(name, each, form).dtype.itemsize for name, each in stored.items()}


def _form(name: str, stored: StoredTensor, form: RunningForm) -> TensorForm:
    return form.of_tensor(name, stored.dtype, stored.shape)


def reader_count() -> int:
    """Return how many threads read: two, or half of the cores, so that whatever else computes can go on."""
    return min(MOST_READERS, max(2, (os.cpu_count() or 1) // 2))


def fill_master(
    file: io.FileIO, stored: Mapping[str, StoredTensor], master: HostMaster, progress: Callable[[int], None]
) -> dict[str, Unfit]:
    """Read tensors into their memory, casting them to its types, and return those that cannot be used.

    `progress` takes the file's bytes of each piece as it arrives, in this thread; what it raises ends the reading.
    Raises OSError and EndOfFileError.
    """
    pieces = [piece for name, each in stored.items() for piece in _pieces(name, each, master.tensors[name])]
    unfit: dict[str, Unfit] = {}
    staging = threading.local()
    with ThreadPoolExecutor(reader_count(), thread_name_prefix="weights") as readers:
        reads: dict[Future[dict[str, Unfit]], _Batch] = {
            readers.submit(_read, file.fileno(), batch, staging): batch for batch in _batches(pieces)
        }
        try:
            for read in as_completed(reads):
                unfit |= read.result()
                progress(reads[read].byte_count)
        except BaseException:
            readers.shutdown(wait=True, cancel_futures=True)
            raise
    return {name: unfit[name] for name in stored if name in unfit}


def _batches(pieces: Sequence[_Piece]) -> Iterator[_Batch]:
    """Yield pieces that follow each other in the file, of one type and up to READ_BYTES, together.

    A network has a thousand small tensors: threads that each read one spend their time in waiting for Python's lock.
    """
    batch: list[_Piece] = []
    for piece in sorted(pieces, key=lambda each: each.start_byte):
        if batch and not _follows(batch, piece):
            yield _Batch(tuple(batch))
            batch = []
        batch.append(piece)
    if batch:
        yield _Batch(tuple(batch))


def _follows(batch: Sequence[_Piece], piece: _Piece) -> bool:
    last = batch[-1]
    return (
        piece.dtype == last.dtype
        and piece.start_byte == last.start_byte + last.byte_count
        and piece.start_byte + piece.byte_count - batch[0].start_byte <= READ_BYTES
    )


def _pieces(name: str, stored: StoredTensor, target: torch.Tensor) -> Iterator[_Piece]:
    """Yield a tensor's pieces, of whole rows; a scalar is one row."""
    assert stored.shape == tuple(target.shape)
    rows = target if target.dim() else target[None]
    if not stored.byte_count:
        return
    row_bytes = stored.byte_count // len(rows)
    count = max(1, READ_BYTES // row_bytes)
    for begin in range(0, len(rows), count):
        part = rows[begin : begin + count]
        yield _Piece(
            name=name,
            dtype=stored.dtype,
            start_byte=stored.start_byte + begin * row_bytes,
            byte_count=len(part) * row_bytes,
            target=part,
        )


def _read(descriptor: int, batch: _Batch, staging: threading.local) -> dict[str, Unfit]:
    """Read the pieces of a batch, and tell what is wrong with their values, if anything is."""
    first, *others = batch.pieces
    if not others and first.target.dtype == first.dtype and first.target.is_contiguous():
        _fill(descriptor, first.target, first.start_byte)
        return _unfit(batch, [first.target])
    values = _staged(batch, staging)
    _fill(descriptor, values, first.start_byte)
    counts = [piece.byte_count // piece.dtype.itemsize for piece in batch.pieces]
    parts = [
        part.view(piece.target.shape) for part, piece in zip(torch.split(values, counts), batch.pieces, strict=True)
    ]
    for part, piece in zip(parts, batch.pieces, strict=True):
        piece.target.copy_(part)
    bound = min((piece.target.dtype for piece in batch.pieces), key=_largest)
    return {} if _problem(values, bound) is None else _unfit(batch, parts)


def _staged(batch: _Batch, staging: threading.local) -> torch.Tensor:
    """Return this thread's own memory for a batch (one dimension), which it keeps for the next ones."""
    held: torch.Tensor | None = getattr(staging, "memory", None)
    if held is None or held.nbytes < batch.byte_count:
        held = staging.memory = torch.empty(max(READ_BYTES, batch.byte_count), dtype=torch.uint8, device="cpu")
    return held[: batch.byte_count].view(batch.pieces[0].dtype)


def _fill(descriptor: int, values: torch.Tensor, start_byte: int) -> None:
    window = values.view(-1).view(torch.uint8).numpy().data
    while window:
        count = os.preadv(descriptor, [window], start_byte)
        if not count:
            raise EndOfFileError
        window, start_byte = window[count:], start_byte + count


def _unfit(batch: _Batch, parts: Sequence[torch.Tensor]) -> dict[str, Unfit]:
    """Return what is wrong with the values of each tensor of a batch."""
    found = ((piece.name, _problem(part, piece.target.dtype)) for piece, part in zip(batch.pieces, parts, strict=True))
    return {name: problem for name, problem in found if problem is not None}


def _problem(values: torch.Tensor, running: torch.dtype) -> Unfit | None:
    """Look at the extremes: NaN is passed on by both, and no copy of the values is made."""
    if not values.dtype.is_floating_point:
        return None
    low, high = (float(each) for each in torch.aminmax(values))
    if not (math.isfinite(low) and math.isfinite(high)):
        return Unfit.NOT_FINITE
    bound = _largest(running)
    return None if -bound <= low and high <= bound else Unfit.TOO_LARGE


def _largest(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).max if dtype.is_floating_point else math.inf
