"""How much host memory is free for this process: what its cgroups leave it, or the machine, whichever is less.

What a cgroup's page cache has not used lately is given up when memory is wanted, so that it counts as free.
"""

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
NO_BOUND = "max"


def free_host_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Return the bytes, None where the system does not tell."""
    available = _field(proc / "meminfo", "MemAvailable:")
    bounds = () if available is None else (available * 1024, *_left_by_cgroups(proc / "self" / "cgroup", cgroups))
    return min(bounds, default=None)


def _left_by_cgroups(membership: Path, root: Path) -> Iterator[int]:
    """Yield what each group that the process is in, from its own to the root, still lets it take."""
    own = next((line.removeprefix("0::") for line in _lines(membership) if line.startswith("0::")), None)
    if own is None:
        return
    folder = root / own.lstrip("/")
    for level in (folder, *folder.parents):
        if not level.is_relative_to(root):
            break
        bound = next(iter(_lines(level / "memory.max")), NO_BOUND)
        used = next(iter(_lines(level / "memory.current")), "")
        if bound.isdigit() and used.isdigit():
            reclaimable = _field(level / "memory.stat", "inactive_file") or 0
            yield max(0, int(bound) - max(0, int(used) - reclaimable))


def _field(path: Path, name: str) -> int | None:
    """Return the number behind a name in a file of lines `name number ...`."""
    words = (line.split() for line in _lines(path))
    return next((int(each[1]) for each in words if each[:1] == [name] and each[1:2] and each[1].isdigit()), None)


def _lines(path: Path) -> list[str]:
    """Return a file's lines; none of one that is not there or not for us."""
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
