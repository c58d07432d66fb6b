"""Sizes as operators read and write them, the same everywhere: what is measured is rounded, what was set is exact.

Pure. Measured sizes are told to three digits or so, in binary units, as `memctl` has them in its tables. Numbers of the
policy are told so that they can be typed back and mean the same, in whatever unit is shortest: 2 GB stays 2GB.
"""

import re
from decimal import Decimal

BYTES_BY_UNIT: dict[str, int] = {
    unit: base**power
    for power in (4, 3, 2, 1)
    for unit, base in ((f"{'KMGT'[power - 1]}iB", 1024), (f"{'KMGT'[power - 1]}B", 1000))
} | {"B": 1}
_FOLDED = {unit.casefold(): size for unit, size in BYTES_BY_UNIT.items()} | {"": 1}
_SHORT_UNITS = ("KiB", "MiB", "GiB", "TiB")
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_KIBI = 1024
_ROUNDS_TO_KIBI = 1023.5
_ROUNDS_TO_HUNDRED = 99.95
_THREE_DIGITS = 1000


def size_text(size_bytes: float) -> str:
    """Return a size that was measured, such as `1.5 GiB`."""
    if abs(size_bytes) < _KIBI:
        return f"{size_bytes:.0f} B"
    size, unit = float(size_bytes), "B"
    for larger in _SHORT_UNITS:
        if abs(size) < _ROUNDS_TO_KIBI:
            break
        size, unit = size / _KIBI, larger
    return f"{size:.1f} {unit}" if abs(size) < _ROUNDS_TO_HUNDRED else f"{size:.0f} {unit}"


def exact_size_text(size_bytes: int) -> str:
    """Return the shortest text that means exactly so many bytes, such as `1.5GB` or `512MiB`."""
    texts = [
        f"{_plain(Decimal(size_bytes) / unit_bytes)}{unit}"
        for unit, unit_bytes in BYTES_BY_UNIT.items()
        if size_bytes * _THREE_DIGITS % unit_bytes == 0
    ]
    return min(texts, key=len)


def exact_number_text(number: float) -> str:
    """Return a number with every digit that counts, and no exponent."""
    return _plain(Decimal(repr(number)))


def parse_size(text: str) -> int | None:
    """Return the bytes that `1.5GB`, `2 gib` or `500000000` means, rounded to whole ones; None if it is no size."""
    found = _SIZE.fullmatch(text)
    unit_bytes = _FOLDED.get(found[2].casefold()) if found else None
    return None if found is None or unit_bytes is None else round(Decimal(found[1]) * unit_bytes)


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
