"""Where the host memory of weights comes from: this process's own pages, or memory that outlives the process.

The latter is a file without a name (memfd) whose descriptor somebody else keeps. Only what is filled is ever handed
over, and it is never written again: a process that comes later maps it, and loads nothing. When nobody needs it any
more, both let go of it, and the pages go with the last mapping.
"""

import fcntl
import mmap
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog
import torch

from tts_service.models.host_pages import own_pages
from tts_service.models.kept_master import KeptMaster
from tts_service.types import ModuleName

SIZE_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
"""Nobody can make it shorter under those who have it mapped."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterMemory:
    """Host memory of one module (one dimension of uint8), and whether its weights are in it already."""

    bytes_: torch.Tensor
    is_filled: bool


class MasterMemories(Protocol):
    """Who gives memory to modules; safe to use from any thread."""

    def memory(self, module: ModuleName, byte_count: int, *, identity: str) -> MasterMemory:
        """Return memory for a module. `identity` names what is to be in it: weights, and how they lie.

        Empty if nobody can say: then it is kept by nobody.
        """
        ...

    def filled(self, module: ModuleName) -> None:
        """Hear that a module's memory holds its weights, and will not be written again."""
        ...

    def drop(self, module: ModuleName) -> None:
        """Hear that a module's memory is not needed any more."""
        ...


class OwnPages:
    """Memory of this process alone, which goes with the tensors in it."""

    def memory(self, module: ModuleName, byte_count: int, *, identity: str) -> MasterMemory:
        """Return empty memory."""
        del module, identity
        return MasterMemory(bytes_=own_pages(byte_count), is_filled=False)

    def filled(self, module: ModuleName) -> None:
        """Let it pass."""

    def drop(self, module: ModuleName) -> None:
        """Let it pass."""

    def __repr__(self) -> str:
        return "<OwnPages>"


class KeptMemories:
    """Memory that somebody else keeps. `kept` is what there is; `keep` and `let_go` tell who keeps it."""

    def __init__(
        self,
        kept: Iterable[KeptMaster],
        *,
        keep: Callable[[KeptMaster], object],
        let_go: Callable[[ModuleName], object],
    ) -> None:
        self._kept = {each.module: each for each in kept}
        self._keep = keep
        self._let_go = let_go
        self._filling: dict[ModuleName, KeptMaster] = {}
        self._lock = threading.Lock()

    def memory(self, module: ModuleName, byte_count: int, *, identity: str) -> MasterMemory:
        """Return what is kept, if it is the same weights in the same places, else empty memory."""
        if not identity:
            return OwnPages().memory(module, byte_count, identity=identity)
        wanted = KeptMaster(module=module, identity=identity, byte_count=byte_count, descriptor=-1)
        with self._lock:
            found = self._kept.pop(module, None)
        if found is not None and replace(found, descriptor=-1) == wanted:
            _log.info("master_found", module=module, bytes=byte_count)
            return MasterMemory(bytes_=_mapped(found), is_filled=True)
        if found is not None:
            os.close(found.descriptor)
        try:
            made = replace(wanted, descriptor=_made(module, byte_count))
        except OSError as error:
            _log.warning("master_not_kept", module=module, reason=error.strerror)
            return OwnPages().memory(module, byte_count, identity=identity)
        with self._lock:
            self._forget(self._filling.pop(module, None))
            self._filling[module] = made
        return MasterMemory(bytes_=_mapped(made, close=False), is_filled=False)

    def filled(self, module: ModuleName) -> None:
        """Hand a module's memory over to be kept."""
        with self._lock:
            made = self._filling.pop(module, None)
        if made is not None:
            self._keep(made)
            os.close(made.descriptor)

    def drop(self, module: ModuleName) -> None:
        """Have a module's memory kept no longer; it goes with its tensors."""
        with self._lock:
            for held in (self._filling, self._kept):
                self._forget(held.pop(module, None))
        self._let_go(module)

    def _forget(self, held: KeptMaster | None) -> None:
        if held is not None:
            os.close(held.descriptor)

    def __repr__(self) -> str:
        return f"<KeptMemories {' '.join(self._kept) or 'nothing'} to be found>"


def _made(module: ModuleName, byte_count: int) -> int:
    """Return the descriptor of new memory of this size, which it keeps."""
    descriptor = os.memfd_create(f"greenroom {module}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, max(1, byte_count))
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SIZE_SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _mapped(master: KeptMaster, *, close: bool = True) -> torch.Tensor:
    """Return memory as a tensor that holds on to it; `close` lets go of the descriptor."""
    try:
        pages = mmap.mmap(master.descriptor, max(1, master.byte_count), flags=mmap.MAP_SHARED)
    finally:
        if close:
            os.close(master.descriptor)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # Only advice: most kernels have small pages for it.
            pages.madvise(mmap.MADV_HUGEPAGE)
    if not master.byte_count:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(pages, dtype=torch.uint8, count=master.byte_count)
