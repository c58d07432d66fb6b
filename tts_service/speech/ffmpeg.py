"""FFmpeg for audio, through PyAV: without threads, which it makes for each stream and audio never uses.

A stream that is coded has a graph of filters, and each graph a pool of a thread for each processor, up to 16: two
hundred sessions with Opus would have thousands. Of the pools only FFmpeg itself knows; what they go by is how many
processors it finds, which it can be told (`av_cpu_force_count`).
"""

import ctypes
import re
from pathlib import Path
from typing import Final

import av as av  # noqa: PLC0414  # Whoever codes has it from here, so that this has run.

_MAPPED: Final = Path("/proc/self/maps")
_LIBRARY: Final = re.compile(r"/\S*/libavutil[^/\s]*\.so\S*$", re.MULTILINE)


def _have_no_threads() -> None:
    """Have FFmpeg find one processor, in the library that PyAV has loaded; where no file tells which, threads stay."""
    found = _LIBRARY.search(_MAPPED.read_text(encoding="utf-8")) if _MAPPED.exists() else None
    if found is not None:
        ctypes.CDLL(found.group()).av_cpu_force_count(1)


_have_no_threads()
