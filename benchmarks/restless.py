"""Places modules back and forth without a pause until it is ended: `python -m benchmarks.restless SOCKET MODULE...`.

A process of its own, so that what a client measures meanwhile is not slowed by the client's own work.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc


@contextmanager
def restless(control_socket: str, modules: Sequence[str], tiers: Sequence[str]) -> Iterator[list[float]]:
    """Let modules move between these tiers all the while, from their first move on.

    What it gives is how many moves there were a second, once it has ended.
    """
    command = [sys.executable, "-m", "benchmarks.restless", control_socket, *modules, "--tiers", *tiers]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # It moves.
    began, rates = time.monotonic(), list[float]()
    try:
        yield rates
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=30)
    if process.returncode or not rest.strip():
        raise RuntimeError(f"modules did not move: exit status {process.returncode}")
    rates.append(int(rest) / (time.monotonic() - began))


def main() -> int:
    """Move until a signal comes; print how often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket")
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--tiers", nargs="+", required=True)
    options = parser.parse_args()
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    moves = 0
    with grpc.insecure_channel(f"unix:{options.socket}") as channel:
        control = residency_pb2_grpc.ResidencyServiceStub(channel)
        while not told:
            for tier in options.tiers:
                for module in options.modules:
                    wanted = residency_pb2.Tier.Value(f"TIER_{tier.upper()}")
                    control.PlaceModule(residency_pb2.PlaceModuleRequest(module=module, tier=wanted), timeout=30.0)
                    moves += 1
                    if moves == 1:
                        print("moves", flush=True)
    print(moves, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
