"""Lets threads that wait for a service's next word sleep until it comes.

gRPC's threads look up ten times a second while they wait, so that a signal handler of the main thread is never kept
waiting. Here the main thread never waits in gRPC, and those looks were a quarter of what an idle daemon cost: 0.58 % of
a core with one service, 0.42 % without them. The library has no setting for it, but a constant; a version that has
renamed it is left as it is, and a test notices.
"""

import importlib
from typing import Any

LOOK_SECONDS = 5.0
MODULE, CONSTANT = "grpc._common", "MAXIMUM_WAIT_TIMEOUT"


def wait_long() -> bool:
    """Have gRPC's threads look up seldom, from now on; tells whether this version of the library can."""
    waits: Any = importlib.import_module(MODULE)
    if not hasattr(waits, CONSTANT):
        return False
    setattr(waits, CONSTANT, LOOK_SECONDS)
    return True
