"""What holds for every process beside the front end: it ends with it, leaves signals to it, and can be told apart."""

import ctypes
import os
import signal
import sys
from typing import Final

ENGINE_NAME: Final = "tts-engine"
SPARE_NAME: Final = "tts-spare"

_SET_PARENT_DEATH_SIGNAL: Final = 1
_SET_NAME: Final = 15
_SET_CHILD_SUBREAPER: Final = 36
"""Of prctl(2), which gives children whose parent has ended to this process instead of to the machine's first."""


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the one that started it dies, and notice if it is dead already."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def leave_signals_alone() -> None:
    """Leave what a terminal or a service manager sends to all processes to the front end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def name_process(name: str) -> None:
    """Give this process a name of at most 15 letters in lists of processes."""
    ctypes.CDLL(None, use_errno=True).prctl(_SET_NAME, name.encode(), 0, 0, 0)


def adopt_orphans() -> bool:
    """Become the parent of processes whose parent has ended, if it was a descendant; tell whether that worked."""
    failed: int = ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return not failed
