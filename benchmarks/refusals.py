"""How soon a service that is full says so.

A refusal takes from the moment at which its client hands the whole call to the kernel to the arrival of the status that
ends it, by the kernel's stamp: accepting the call, the service's decision, and the status on its way. How long it then
lay with the client is told beside it, and so is what a bare gRPC server takes on the same machine at the same time,
which refuses without looking. `benchmarks.prepared_service` notes besides what the service's own handler took. Calls
arrive at random and never wait for each other.
"""

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any, Final

from benchmarks import bare_grpc
from benchmarks.speaking import Figures
from benchmarks.wire_client import Call, PlannedCall, carried_out_elsewhere

SPEAKING: Final = "/greenroom.tts.v1.TextToSpeechService/StreamingSynthesize"
RESOURCE_EXHAUSTED: Final = b"grpc-status\x018"
"""As it stands in a block of headers: its name, the length of its value, and that."""
CONNECTIONS: Final = 8
END_SECONDS: Final = 2.0
"""For the last call's status."""


def planned_refusals(
    messages: tuple[bytes, ...],
    *,
    rate_per_second: float,
    from_seconds: float,
    until_seconds: float,
    first_line: int = 0,
    seed: int = 1,
) -> list[PlannedCall]:
    """Return calls that arrive at random times, on connections from `first_line` on."""
    planned: list[PlannedCall] = []
    source, at = random.Random(seed), from_seconds  # noqa: S311  # Arrivals, no secrets.
    while (at := at + source.expovariate(rate_per_second)) < until_seconds:
        line = first_line + len(planned) % CONNECTIONS
        planned.append(PlannedCall(at_seconds=at, connection=line, messages=messages))
    return planned


def refused_seconds(calls: Sequence[Call]) -> list[float]:
    """Return what refusals took. A call that was told anything before its end was let in, or waited."""
    return [call.end.arrived_at - call.sent_at for call in calls if call.end is not None and _is_refused(call)]


def _is_refused(call: Call) -> bool:
    return call.end is not None and not call.messages and RESOURCE_EXHAUSTED in call.end.data


def ended_otherwise(calls: Sequence[Call]) -> int:
    """Return how many calls ended without a word and were not refused: nothing is known of what that took."""
    return sum(call.end is not None and not call.messages and not _is_refused(call) for call in calls)


def lag_of(calls: Sequence[Call]) -> list[float]:
    """Return how long the ends of calls lay with the client."""
    return [call.end.read_at - call.end.arrived_at for call in calls if call.end is not None]


def figures(seconds: Sequence[float]) -> dict[str, Any]:
    """Return percentiles; nothing of fewer than two."""
    return Figures.of_seconds(seconds).fields() if len(seconds) > 1 else {}


async def measure(
    address: str, first_message: bytes, *, rate_per_second: float, from_seconds: float, until_seconds: float
) -> dict[str, Any]:
    """Call a service that is full by then, and a bare one beside it; return the figures of both."""
    with bare_grpc.bare_server() as bare_address:
        whole = until_seconds + END_SECONDS
        plan = [
            planned_refusals(
                messages,
                rate_per_second=rate_per_second,
                from_seconds=from_seconds,
                until_seconds=until_seconds,
                seed=seed,
            )
            for seed, messages in enumerate(((first_message,), (b"",)), 1)
        ]
        ours, bare = await asyncio.gather(
            asyncio.to_thread(carried_out_elsewhere, address, SPEAKING, plan[0], most_seconds=whole),
            asyncio.to_thread(carried_out_elsewhere, bare_address, bare_grpc.REFUSED, plan[1], most_seconds=whole),
        )
    return {
        **figures(refused_seconds(ours)),
        "ended_otherwise": ended_otherwise(ours) + ended_otherwise(bare),
        "not_refused": sum(bool(call.messages) or call.end is None for call in ours),
        "bare_grpc": figures(refused_seconds(bare)),
        "client_lag": figures(lag_of(ours)),
        "load_average": os.getloadavg()[0],
    }
