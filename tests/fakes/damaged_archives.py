"""PyTorch archives whose description (the pickle within) is damaged here and there, as by a bad disk."""

import io
import random
import zipfile
from collections.abc import Iterator


def damaged_archives(data: bytes, *, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield copies of an archive with one to three other bytes in its pickle; the archive itself stays whole."""
    chance = random.Random(seed)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(count):
        damaged = io.BytesIO()
        with zipfile.ZipFile(damaged, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, _changed(content, chance) if name.endswith("data.pkl") else content)
        yield damaged.getvalue()


def _changed(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 3])):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)
