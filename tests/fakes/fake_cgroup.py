"""A cgroup v2 tree in an ordinary folder, with the files that tell about memory."""

from pathlib import Path


class FakeCgroup:
    """One cgroup; `limit_bytes` None writes `max`. Its numbers can be changed at any time, as the kernel does."""

    def __init__(self, folder: Path, *, limit_bytes: int | None, used_bytes: int, inactive_bytes: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.used_bytes = used_bytes
        self.inactive_bytes = inactive_bytes
        self.write()

    def __repr__(self) -> str:
        return f"<FakeCgroup {self.folder.name} {self.used_bytes} of {self.limit_bytes}>"

    def use(self, used_bytes: int) -> None:
        """Let that much be in use from now on."""
        self.used_bytes = used_bytes
        self.write()

    def write(self) -> None:
        """Write the files; each is replaced as a whole, because a reader may come at any moment."""
        limit = "max" if self.limit_bytes is None else str(self.limit_bytes)
        stat = f"anon {self.used_bytes}\nfile 0\ninactive_file {self.inactive_bytes}\nactive_file 0\n"
        contents = {"memory.max": f"{limit}\n", "memory.current": f"{self.used_bytes}\n", "memory.stat": stat}
        for name, content in contents.items():
            fresh = self.folder / f".{name}.new"
            fresh.write_text(content)
            fresh.replace(self.folder / name)
