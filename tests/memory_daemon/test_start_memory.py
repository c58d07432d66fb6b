"""What starting the daemon takes is not kept longer than needed, nor taken where it is never used."""

import subprocess
import sys

from memory_daemon.spared_packages import spared
from memory_daemon.start_memory import SPARE_SECONDS, SpareMemory, have_one_heap

HEAVY = (
    "rich",
    "pygments",
    "pydantic_settings",
    "numpy",
    "torch",
    "pandas",
    "memory_daemon.simulation",
    "ssl",
    "_ssl",
    "_hashlib",
    "_lzma",
    "asyncio.base_events",
    "grpc.aio._channel",
    "prometheus_client.exposition",
    "google.protobuf.text_format",
    "urllib.request",
)
"""What an idle daemon has no use for; a rehearsal is a process of its own."""
STARTED = """
import sys
heavy, sys.argv[1:] = sys.argv[1:], ["--version"]
from memory_daemon.__main__ import main
try:
    main()
finally:
    print([name for name in heavy if name in sys.modules])
"""


def test_started_daemon_has_imported_nothing_that_it_never_uses() -> None:
    """Each of these would cost MiB for as long as the daemon lives."""
    command = [sys.executable, "-c", STARTED, *HEAVY]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    assert "[]" == told[-1]


def test_spared_package_is_not_found_inside_and_there_afterwards() -> None:
    """What is imported inside finds it missing; nothing else does."""
    found = []
    sys.modules.pop("this", None)
    with spared("this", "sys"):
        found = [sys.modules["this"], sys.modules["sys"]]

    assert ([None, sys], False) == (found, "this" in sys.modules)


def test_spare_memory_is_returned_now_and_then() -> None:
    """Not with every tick, because it takes a moment."""
    have_one_heap()
    spare = SpareMemory(begun_seconds=0.0)
    times = (1.0, SPARE_SECONDS, SPARE_SECONDS + 1.0, 2 * SPARE_SECONDS)

    assert [False, True, False, True] == [spare.tend(seconds) for seconds in times]
