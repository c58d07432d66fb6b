"""What a file of weights holds, read without its data: safetensors, or a PyTorch archive (`.pt`) of plain tensors.

Both keep each tensor's bytes in one piece, so that a reader needs a name's type, shape and place and nothing else. An
archive is unpickled with `weights_only`, which runs no code of the file.
"""

import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from tts_service.models.chatterbox.weight_problems import WeightProblem

MAX_HEADER_BYTES: Final = 100_000_000
"""The bound of the safetensors format; a first word beyond it is no length but some other file's first bytes."""

ARCHIVE_ERRORS: Final = (
    RuntimeError,
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    struct.error,
)
"""What torch raises over a damaged archive: its unpickler goes on until something does not fit."""

_LENGTH_BYTES: Final = 8

DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""The format's names of types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor's type and shape, and where its bytes begin in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start_byte: int

    @property
    def byte_count(self) -> int:
        """How many bytes it has."""
        return math.prod(self.shape) * self.dtype.itemsize


class UnreadableFileError(Exception):
    """A file is not what its name says; the message says how."""


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Return what a file holds, by name. Raises UnreadableFileError, and OSError for a disk that does not answer."""
    if path.suffix == ".pt":
        return _archive_tensors(path)
    return _safetensors_header(path)


def archive_content(path: Path, *, device: str) -> Any:
    """Return what a PyTorch archive holds, without running anything in it; raises as `stored_tensors` does."""
    with path.open("rb") as file:
        # Of anything but a whole archive, torch believes that it is of an older form, and stumbles over it.
        if not zipfile.is_zipfile(file):
            raise UnreadableFileError("is truncated, or not a PyTorch archive")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except ARCHIVE_ERRORS as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableFileError(f"is damaged, or not an archive of tensors ({first})") from error


def file_problem(path: Path, error: Exception) -> WeightProblem:
    """Say what an error in reading a file means."""
    if isinstance(error, FileNotFoundError):
        return WeightProblem(file=path.name, what="is missing")
    if isinstance(error, OSError):
        return WeightProblem(file=path.name, what=f"cannot be read ({error.strerror or error})")
    return WeightProblem(file=path.name, what=str(error))


def safetensors_metadata(path: Path) -> Mapping[str, str]:
    """Return what a safetensors file says about itself; empty for nothing. Raises as `stored_tensors` does."""
    metadata: Mapping[str, str] = _header(path)[0].get("__metadata__", {})
    return metadata


def _safetensors_header(path: Path) -> dict[str, StoredTensor]:
    header, data_start, data_bytes = _header(path)
    stored = {name: _entry(name, entry, data_start) for name, entry in header.items() if name != "__metadata__"}
    ends = [each.start_byte - data_start + each.byte_count for each in stored.values()]
    if max(ends, default=0) > data_bytes:
        raise UnreadableFileError(
            f"is truncated: its weights take {max(ends)} bytes, of which {data_bytes} are there; download it again"
        )
    return stored


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the header, where the data begins, and how many bytes of data there are."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > MAX_HEADER_BYTES:
            raise UnreadableFileError("is not a safetensors file")
        if size < _LENGTH_BYTES + length:
            raise UnreadableFileError(f"is truncated within its header, at {size} bytes; download it again")
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise UnreadableFileError("is not a safetensors file (its header is not JSON)")
    return header, _LENGTH_BYTES + length, size - _LENGTH_BYTES - length


def _entry(name: str, entry: Any, data_start: int) -> StoredTensor:
    try:
        start, end = entry["data_offsets"]
        stored = StoredTensor(
            dtype=DTYPES[entry["dtype"]], shape=tuple(map(int, entry["shape"])), start_byte=data_start + start
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFileError(f"is not a safetensors file ({name} is not described: {error!r})") from error
    if start < 0 or min(stored.shape, default=0) < 0 or end - start != stored.byte_count:
        raise UnreadableFileError(f"is not a safetensors file ({name} has {end - start} bytes for {stored.shape})")
    return stored


def _archive_tensors(path: Path) -> dict[str, StoredTensor]:
    """Return what an archive holds; on the meta device nothing of its data is read, and its place is kept."""
    content = archive_content(path, device="meta")
    if not isinstance(content, Mapping) or not all(isinstance(each, torch.Tensor) for each in content.values()):
        raise UnreadableFileError("is not an archive of tensors by name")
    return {str(name): _archived(str(name), tensor) for name, tensor in content.items()}


def _archived(name: str, tensor: torch.Tensor) -> StoredTensor:
    place = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if place is None or not tensor.is_contiguous():
        raise UnreadableFileError(f"cannot be read tensor by tensor ({name} is not one piece); save it again")
    start_byte = place + tensor.storage_offset() * tensor.element_size()
    return StoredTensor(dtype=tensor.dtype, shape=tuple(tensor.shape), start_byte=start_byte)
