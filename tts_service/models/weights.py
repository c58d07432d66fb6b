"""Weights as safetensors in the cache folder: converted once, checked at every read, rebuilt when they are not right.

A file's name ends in the sum of its content, so that whatever stands under a name can be checked without trusting
anything else: a torn, damaged or foreign file is noticed, logged and made again. Files appear whole or not at all.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from safetensors.torch import load, save

from tts_service.errors import StartupError

FORMAT = "1"
"""Rises when files of an older release must not be read any more."""

_log = structlog.get_logger(__name__)

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedWeights:
    """One module's tensors in `folder`; `make` converts them from `source`, which names what they are made from."""

    folder: Path
    name: str
    source: str
    make: Callable[[], Tensors]

    def ensure(self) -> Path:
        """Make the file unless a good one is there, and return its path. Raises StartupError."""
        found = self._find()
        return self._write(self._convert()) if found is None else found[0]

    def read(self) -> dict[str, torch.Tensor]:
        """Return the tensors, which own their memory; the file is made first if need be.

        A file that cannot be made is only told: the tensors are here, and a full disk must not silence a service that
        speaks.
        """
        found = self._find()
        if found is not None:
            return load(found[1])
        data = self._convert()
        try:
            self._write(data)
        except StartupError as error:
            _log.warning("weights_not_kept", module=self.name, error=str(error))
        return load(data)

    @property
    def _prefix(self) -> str:
        source_sum = hashlib.sha256(f"{FORMAT} {self.source}".encode()).hexdigest()[:8]
        return f"{self.name}-{source_sum}-"

    def _find(self) -> tuple[Path, bytes] | None:
        for path in sorted(self.folder.glob(f"{self._prefix}*.safetensors")):
            data = self._good_bytes(path)
            if data is not None:
                return path, data
        return None

    def _good_bytes(self, path: Path) -> bytes | None:
        try:
            data = path.read_bytes()
        except OSError as error:
            _log.warning("weights_unreadable", path=str(path), error=str(error))
            return None
        if path.name == f"{self._prefix}{_sum(data)}.safetensors" and _metadata(data) == self._metadata:
            return data
        _log.warning("weights_damaged", path=str(path), way_out="they are made again")
        return None

    @property
    def _metadata(self) -> dict[str, str]:
        # One key: safetensors writes several in any order, and the same weights would not give the same file.
        return {"made_from": f"{FORMAT} {self.name} {self.source}"}

    def _convert(self) -> bytes:
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.make().items()}
        return save(tensors, metadata=self._metadata)

    def _write(self, data: bytes) -> Path:
        path = self.folder / f"{self._prefix}{_sum(data)}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        except OSError as error:
            raise StartupError(
                f"cannot write {path} ({error.strerror or error}): see to it that the folder is writable and has "
                f"{(len(data) >> 20) + 1} MiB free, or set cache_dir to another one"
            ) from error
        _log.info("weights_converted", module=self.name, path=str(path), bytes=len(data))
        self._remove_others(path)
        return path

    def _remove_others(self, current: Path) -> None:
        """Remove what this file replaces; a file that cannot be removed does no harm."""
        for path in self.folder.glob(f"{self.name}-{8 * '?'}-*.safetensors"):
            if path != current:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    _log.warning("weights_not_removed", path=str(path), error=str(error))


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile. Raises OSError."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name last; without it a crash could bring the old folder back."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _metadata(data: bytes) -> dict[str, str] | None:
    """Return what a file says about itself; None if it is no safetensors file."""
    header_bytes = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + header_bytes])
    except ValueError:
        return None
    return header.get("__metadata__") if isinstance(header, dict) else None
