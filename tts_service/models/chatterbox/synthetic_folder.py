"""Writes a folder of synthetic weights in upstream's layout: whole or not at all, with progress."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import torch

from tts_service.errors import StartupError
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE, LAYOUTS
from tts_service.models.chatterbox.synthetic_modules import SyntheticModel
from tts_service.models.chatterbox.synthetic_tokenizers import write_tokenizer
from tts_service.models.chatterbox.weight_file import DTYPES

FORMAT: Final = 2
"""Rises when the same seed gives other weights; the cache then makes them again."""

SPARE_BYTES: Final = 64 << 20
_TYPE_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}

Progress = Callable[[int, int], None]
FreeBytes = Callable[[Path], int]


def free_disk_bytes(folder: Path) -> int:
    """Return how much can be written in a folder."""
    return shutil.disk_usage(folder).free


def write_synthetic(
    folder: Path, made: SyntheticModel, *, progress: Progress, free_bytes: FreeBytes = free_disk_bytes
) -> None:
    """Write a model's folder, which must not be there yet (or be empty). Raises StartupError, and leaves nothing."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StartupError(f"{folder} is there already: remove it, or name another folder")
    wanted = {file: made.wanted(file) for file in LAYOUTS[made.model].weight_files}
    total_bytes = sum(each.nbytes for file in wanted.values() for each in file.values())
    with _disk_errors(folder, total_bytes):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if free_bytes(folder.parent) < total_bytes + SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with _whole_or_nothing(folder) as temporary:
            _write_files(temporary, made, wanted, _Counter(progress, total_bytes))


def ensure_synthetic(cache_folder: Path, made: SyntheticModel, *, progress: Progress) -> Path:
    """Return a model's folder in the cache, which is made if it is not there. Raises StartupError."""
    name = f"{made.model}-{made.size.value}-seed{made.seed}-{FORMAT}"
    folder = cache_folder / "synthetic" / name
    if not folder.exists():
        try:
            write_synthetic(folder, made, progress=progress)
        except StartupError:
            if not folder.exists():
                raise
            # Another process made it meanwhile; it appears whole, so it is as good as ours.
    return folder


class _Counter:
    """Adds up what is written."""

    def __init__(self, progress: Progress, total_bytes: int) -> None:
        self._progress, self._total_bytes, self._done_bytes = progress, total_bytes, 0

    def __repr__(self) -> str:
        return f"<_Counter {self._done_bytes} of {self._total_bytes} bytes>"

    def add(self, byte_count: int) -> None:
        """Count and tell."""
        self._done_bytes += byte_count
        self._progress(self._done_bytes, self._total_bytes)


@contextlib.contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the name when all went well, and goes when it did not."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def _disk_errors(folder: Path, total_bytes: int) -> Iterator[None]:
    """Turn what a disk can say into one error; torch and tokenizers say it in exceptions of their own."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise StartupError(
            f"cannot write {folder} ({what}): see to it that its place is writable and has "
            f"{(total_bytes + SPARE_BYTES) >> 20} MiB free, or name another folder"
        ) from error


def _write_files(
    folder: Path, made: SyntheticModel, wanted: Mapping[str, Mapping[str, torch.Tensor]], counter: _Counter
) -> None:
    for file, content in wanted.items():
        write = _write_archive if file.endswith(".pt") else _write_safetensors
        with (folder / file).open("wb") as target:
            write(target, made, content, file, counter)
            target.flush()
            os.fsync(target.fileno())
    write_tokenizer(folder, made.model)
    torch.save(made.conditionals(), folder / CONDITIONALS_FILE)


def _write_safetensors(
    target: BinaryIO, made: SyntheticModel, wanted: Mapping[str, torch.Tensor], file: str, counter: _Counter
) -> None:
    """Write tensor by tensor, so that no more than one is in memory."""
    header: dict[str, object] = {"__metadata__": {"made_by": f"greenroom: {made}"}}
    end = 0
    for name, each in wanted.items():
        header[name] = {
            "dtype": _TYPE_NAMES[each.dtype],
            "shape": list(each.shape),
            "data_offsets": [end, end + each.nbytes],
        }
        end += each.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target.write(len(text).to_bytes(8, "little") + text)
    for (name, tensor), expected in zip(made.tensors(file), wanted, strict=True):
        assert name == expected
        target.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
        counter.add(tensor.nbytes)


def _write_archive(
    target: BinaryIO, made: SyntheticModel, wanted: Mapping[str, torch.Tensor], file: str, counter: _Counter
) -> None:
    content = {}
    for name, tensor in made.tensors(file):
        content[name] = tensor
        counter.add(tensor.nbytes)
    assert content.keys() == wanted.keys()
    torch.save(content, target)
