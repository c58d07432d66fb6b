"""How much host memory is free: the tightest cgroup v2 limit at or above a folder, else what the kernel says.

A limit above the machine's memory is none. A cgroup's page cache that was not used lately (`inactive_file`) is given
back when memory is wanted, so it counts as free, as the kernel counts it in `MemAvailable`.
"""

from dataclasses import dataclass
from pathlib import Path

LEVELS_MAXIMUM = 64
"""Depth of a cgroup tree that is looked at; systemd nests about ten."""
NO_LIMIT = "max"


class UnreadableError(Exception):
    """A file that tells about memory is missing, or does not say what it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """Host memory at one moment."""

    total_bytes: int
    free_bytes: int


def read_host_memory(cgroup_root: Path | None, meminfo: Path) -> HostMemory:
    """Return the tightest of the limits at `cgroup_root` and above it, or the machine's memory if there is none.

    Raises UnreadableError with the file and what is wrong with it.
    """
    machine = _machine_memory(meminfo)
    limits = [] if cgroup_root is None else _limits(cgroup_root)
    binding = [limit for limit in limits if limit.total_bytes < machine.total_bytes]
    return min(binding, key=lambda memory: memory.free_bytes, default=machine)


def _limits(folder: Path) -> list[HostMemory]:
    """Return what is free at every level that has a limit; the root of a cgroup tree has no such file and ends it."""
    if not (folder / "memory.max").exists() and not (folder / "cgroup.controllers").exists():
        raise UnreadableError(f"{folder} is no cgroup v2 folder")
    found: list[HostMemory] = []
    for level in (folder, *folder.parents)[:LEVELS_MAXIMUM]:
        if not (level / "memory.max").exists():
            break
        limit = _read(level / "memory.max").strip()
        if limit != NO_LIMIT:
            found.append(_level_memory(level, _number(limit, level / "memory.max")))
    return found


def _level_memory(folder: Path, limit_bytes: int) -> HostMemory:
    used_bytes = _number(_read(folder / "memory.current").strip(), folder / "memory.current")
    (reclaimable_bytes,) = _fields(folder / "memory.stat", "inactive_file")
    free_bytes = limit_bytes - max(0, used_bytes - reclaimable_bytes)
    return HostMemory(total_bytes=limit_bytes, free_bytes=max(0, free_bytes))


def _machine_memory(meminfo: Path) -> HostMemory:
    total_kib, free_kib = _fields(meminfo, "MemTotal:", "MemAvailable:")
    return HostMemory(total_bytes=total_kib * 1024, free_bytes=free_kib * 1024)


def _fields(path: Path, *names: str) -> list[int]:
    """Return the numbers behind names in a file of lines `name number ...`, read once and no further than needed."""
    found: dict[str, int] = {}
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in names and words[0] not in found:
            found[words[0]] = _number(words[1], path)
            if len(found) == len(names):
                return [found[name] for name in names]
    missing = next(name for name in names if name not in found)
    raise UnreadableError(f"{path} has no line {missing!r}")


def _number(text: str, path: Path) -> int:
    if not text.isascii() or not text.isdigit():
        raise UnreadableError(f"{path} holds {text[:40]!r}, which is no number of bytes")
    return int(text)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path} cannot be read: {error}") from error
