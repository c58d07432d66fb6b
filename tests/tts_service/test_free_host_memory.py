"""Free host memory: the machine's or the tightest cgroup's, whichever is less; unknown where nothing tells."""

from pathlib import Path

from tts_service.residency.free_host_memory import free_host_bytes

MEMINFO = "MemTotal:       1000 kB\nMemAvailable:    400 kB\n"


def machine(folder: Path, *, meminfo: str = MEMINFO, membership: str = "0::/ours/inner\n") -> tuple[Path, Path]:
    """Return the folders of a machine that says this of itself."""
    proc, cgroups = folder / "proc", folder / "cgroups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(meminfo)
    (proc / "self" / "cgroup").write_text(membership)
    (cgroups / "ours" / "inner").mkdir(parents=True)
    return proc, cgroups


def bound(folder: Path, *, limit: str, used: int, inactive_file: int = 0) -> None:
    """Let a cgroup have a limit."""
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive_file}\n")


def test_machine_without_bounds_tells_what_is_available(tmp_path: Path) -> None:
    """The kernel's own estimate, in bytes."""
    assert 400 * 1024 == free_host_bytes(*machine(tmp_path))


def test_tightest_cgroup_counts_with_its_cache_as_free(tmp_path: Path) -> None:
    """A group above may leave less than our own; what it caches idly is given up when memory is wanted."""
    proc, cgroups = machine(tmp_path)
    bound(cgroups / "ours" / "inner", limit="300000", used=100)
    bound(cgroups / "ours", limit="100000", used=90_000, inactive_file=20_000)

    assert 30_000 == free_host_bytes(proc, cgroups)


def test_cgroup_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    """What is free is never negative."""
    proc, cgroups = machine(tmp_path)
    bound(cgroups / "ours" / "inner", limit="100", used=150)

    assert 0 == free_host_bytes(proc, cgroups)


def test_cgroup_without_a_limit_and_old_cgroups_bound_nothing(tmp_path: Path) -> None:
    """`max` is no limit, and version 1 has no unified group."""
    proc, cgroups = machine(tmp_path, membership="4:memory:/old\n")
    bound(cgroups / "ours" / "inner", limit="max", used=150)

    assert 400 * 1024 == free_host_bytes(proc, cgroups)


def test_system_that_tells_nothing_is_unknown(tmp_path: Path) -> None:
    """No file, or one without the line, is not zero."""
    assert free_host_bytes(tmp_path / "none", tmp_path / "none") is None
    assert free_host_bytes(*machine(tmp_path, meminfo="MemTotal: 5 kB\n")) is None
