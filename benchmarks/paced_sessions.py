"""What gRPC, pacing and encoding cost a chunk: paced sessions of prepared audio, without any model.

    python -m benchmarks.paced_sessions                            50 sessions, the engine beside the front end
    python -m benchmarks.paced_sessions --own-process              the engine in a process of its own
    python -m benchmarks.paced_sessions --refused-per-second 200   while others come and are refused

The server is the front end as it is shipped (`benchmarks.prepared_service`); the client is sockets in another process
(`benchmarks.wire_client`).

A chunk's cost is the time from the moment at which it is due until its bytes lie in the client's socket, on the
machine's common monotonic clock. It is due when pacing lets it leave (the outbox's own answer, asked for when the chunk
became the next item), so that whatever made it late counts, however late it is. The service may let a chunk go up to
two milliseconds before that, because timers are coarse; then it is due when it went. What the client itself takes to
read is no part of it, and is told as its lag. What timers and gRPC take alone, on the same machine in the same minute,
is measured by `bare_grpc`, with the same client. Every chunk after the first second of each session's audio counts.

Of the server is told as well: how late its event loop woke for a timer of 5 ms, what Python's collector stopped it for,
and for which share of the time its thread waited for a core that others had. That is how busy the machine was.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from typing import Any

import psutil
import uvloop

from benchmarks.load.manner import ENCODINGS
from benchmarks.prepared_engine import CHUNK_SECONDS
from benchmarks.prepared_service import Noted, noted_by, prepared_service
from benchmarks.refusals import SPEAKING, figures, planned_refusals, refused_seconds
from benchmarks.speaking import Figures, config, end, text
from benchmarks.wire_client import Call, PlannedCall, carried_out_elsewhere, lag_seconds
from greenroom.tts.v1 import tts_pb2 as pb
from tools.process import end_on_signals

SAMPLE_RATE_HERTZ = 16_000
COUNTED_FROM_SECONDS = 1.0
"""Before that a session builds up its lead."""

AHEAD_SECONDS = 0.5
END_SECONDS = 10.0
"""For sessions to end in, beyond their audio."""


async def measure(
    sessions: int, seconds: float, *, own_process: bool = False, encoding: str = "pcm", refused_per_second: float = 0.0
) -> dict[str, Any]:
    """Run paced sessions side by side; return the figures of the chunks' cost, and of refusals if there are any."""
    planned = _planned(sessions, seconds, encoding)
    if refused_per_second:
        planned += planned_refusals(
            planned[0].messages,
            rate_per_second=refused_per_second,
            from_seconds=COUNTED_FROM_SECONDS,
            until_seconds=seconds - COUNTED_FROM_SECONDS,
            first_line=sessions,
        )
    with prepared_service(places=sessions, own_process=own_process) as (address, child):
        process = psutil.Process(child.pid)
        before = process.cpu_times()
        calls = await asyncio.to_thread(
            carried_out_elsewhere, address, SPEAKING, planned, most_seconds=seconds + END_SECONDS
        )
        after = process.cpu_times()
        noted = noted_by(child)
    cpu_seconds = (after.user + after.system) - (before.user + before.system)
    return {
        **_chunk_figures(calls[:sessions], noted, cpu_seconds),
        "sessions": sessions,
        "encoding": encoding,
        "own_process": own_process,
        "server_cores": round(cpu_seconds / noted.wall_seconds, 3),
        "event_loop": _loop_figures(noted),
        "client_lag": figures(lag_seconds(calls)),
        "refused": figures(refused_seconds(calls[sessions:])),
        "refused_in_the_handler": figures(noted.refusals_seconds),
        "load_average": os.getloadavg()[0],
    }


def _planned(sessions: int, seconds: float, encoding: str) -> list[PlannedCall]:
    form = pb.AudioFormat(encoding=ENCODINGS[encoding], sample_rate_hertz=SAMPLE_RATE_HERTZ)
    first = config(pacing=pb.PACING_REALTIME, audio_format=form)
    first.config.max_audio_ahead.FromNanoseconds(round(AHEAD_SECONDS * 1e9))
    said = (first, text("u", "A second of sound is here. " * round(seconds)), end("u"))
    messages = tuple(each.SerializeToString() for each in said)
    spread = CHUNK_SECONDS / sessions
    return [PlannedCall(at_seconds=each * spread, connection=each, messages=messages) for each in range(sessions)]


def _chunk_figures(calls: Sequence[Call], noted: Noted, cpu_seconds: float) -> dict[str, Any]:
    spoken = [_chunks(call) for call in calls]
    count = sum(len(chunks) for _, chunks in spoken)
    costs = [
        (arrived, *noted.chunks[session_id][str(offset)])  # type: ignore[index]  # JSON's keys are text.
        for session_id, chunks in spoken
        for offset, arrived in chunks
        if offset >= COUNTED_FROM_SECONDS * SAMPLE_RATE_HERTZ
    ]
    return {
        **Figures.of_seconds([arrived - due for arrived, due, _ in costs]).fields(),
        "since_written": Figures.of_seconds([arrived - written for arrived, _, written in costs]).fields(),
        "counted_share_of_chunks": round(len(costs) / count, 3),
        "server_cpu_ms_per_chunk": round(cpu_seconds / count * 1e3, 4),
    }


def _chunks(call: Call) -> tuple[str, list[tuple[int, float]]]:
    """Return a session's id, and each chunk's offset with its arrival."""
    responses = [(pb.StreamingSynthesizeResponse.FromString(each.data), each.arrived_at) for each in call.messages]
    assert responses, "a session was not let in"
    assert responses[-1][0].WhichOneof("response") == "utterance_done", "a session ended early"
    session_id = responses[0][0].session_started.session_id
    return session_id, [(each.audio.sample_offset, at) for each, at in responses if each.HasField("audio")]


def _loop_figures(noted: Noted) -> dict[str, Any]:
    return {
        "late": figures(noted.late_seconds),
        "collections": figures(noted.collections_seconds),
        "cores": round(noted.cpu_seconds / noted.wall_seconds, 3),
        "waited_for_a_core": round(noted.waited_seconds / noted.wall_seconds, 3),
    }


def main() -> None:
    """Measure and print."""
    end_on_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--own-process", action="store_true", help="the engine is a process of its own")
    parser.add_argument("--encoding", choices=list(ENCODINGS), default="pcm")
    parser.add_argument("--refused-per-second", type=float, default=0.0)
    asked = parser.parse_args()
    found = measure(
        asked.sessions,
        asked.seconds,
        own_process=asked.own_process,
        encoding=asked.encoding,
        refused_per_second=asked.refused_per_second,
    )
    print(json.dumps(uvloop.run(found), indent=2))


if __name__ == "__main__":
    main()
