"""A client of gRPC services that is only sockets, so that what it hears tells of the service and not of itself.

A client with gRPC in it spends as much on a chunk as a service does, and on few cores its own waits would be taken for
the service's. Here a call is a few frames of HTTP/2 that are written by hand. All calls of a run are planned before it
and are carried out by one thread in a process of its own; what came is looked at when all is over.

An arrival is when the bytes lay in this machine's socket, by the kernel's own stamp; when this process read them is
kept beside it. The difference is the client's lag, which is no cost of the service and is told with every figure. Where
one read takes several stretches of bytes, the last one's stamp counts for all: a figure may be too large by it, never
too small.
"""

import base64
import json
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE: Final = 1
INITIAL_WINDOW_SIZE: Final = 4
MOST_WINDOW: Final = (1 << 31) - 1
FIRST_WINDOW: Final = 65_535
FRAME_HEAD_BYTES: Final = 9
MESSAGE_HEAD_BYTES: Final = 5
STAMPS: Final = 35
"""Linux's SO_TIMESTAMPNS, which Python does not name."""

_STAMP: Final = struct.Struct("ll")
_GRACE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """A call of a run: when it is made, on which of the connections, and its messages, which are sent at once."""

    at_seconds: float
    connection: int
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """Something that came: when it was here, and when the client read it; both on the monotonic clock."""

    data: bytes
    arrived_at: float
    read_at: float


@dataclass(slots=True, kw_only=True)
class Call:
    """What came of a call; `end` is the block of headers that closed it, None if it was open when the run ended."""

    due_at: float
    sent_at: float = 0.0
    messages: list[Came] = field(default_factory=list)
    end: Came | None = None


class _Frame(NamedTuple):
    """A frame of HTTP/2."""

    kind: int
    flags: int
    number: int
    data: bytes


class Line:
    """One connection. Its windows are as wide as they can be, so that nothing ever waits for the client's leave."""

    def __init__(self, address: str, method: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, STAMPS, 1)
        self._headers = _headers(address, method)
        self._calls: dict[int, Call] = {}
        self._parts: dict[int, bytes] = {}
        self._next = 1
        self._unread = b""
        # Without a table, headers come as they are, and can be read without what came before them.
        settings = struct.pack("!HIHI", HEADER_TABLE_SIZE, 0, INITIAL_WINDOW_SIZE, MOST_WINDOW)
        more = struct.pack("!I", MOST_WINDOW - FIRST_WINDOW)
        self.socket.sendall(PREFACE + _frame(SETTINGS, 0, 0, settings) + _frame(WINDOW_UPDATE, 0, 0, more))

    def __repr__(self) -> str:
        return f"<Line {len(self._calls)} calls>"

    def begin(self, call: Call, messages: Sequence[bytes]) -> None:
        """Make a call: all it has to say, and that nothing follows."""
        number, self._next = self._next, self._next + 2
        self._calls[number], self._parts[number] = call, b""
        said = b"".join(struct.pack("!BI", 0, len(each)) + each for each in messages)
        frames = _frame(HEADERS, END_HEADERS, number, self._headers) + _frame(DATA, END_STREAM, number, said)
        call.sent_at = time.monotonic()
        self.socket.sendall(frames)

    def take(self, monotonic_less_wall: float) -> int:
        """Read what is there; return how many calls it ended."""
        data, extra, _, _ = self.socket.recvmsg(1 << 18, socket.CMSG_SPACE(_STAMP.size))
        read_at = time.monotonic()
        if not data:
            raise ConnectionError("the service closed a connection in the middle of a run")
        arrived_at = read_at
        for _, kind, value in extra:
            if kind == STAMPS:
                seconds, nanoseconds = _STAMP.unpack(value[: _STAMP.size])
                arrived_at = min(read_at, seconds + nanoseconds / 1e9 + monotonic_less_wall)
        self._unread += data
        return sum(self._frame(each, arrived_at, read_at) for each in self._frames())

    def _frames(self) -> list[_Frame]:
        frames, data, at = [], self._unread, 0
        while len(data) - at >= FRAME_HEAD_BYTES:
            size = int.from_bytes(data[at : at + 3], "big")
            end = at + FRAME_HEAD_BYTES + size
            if len(data) < end:
                break
            kind, flags, number = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big")
            frames.append(_Frame(kind, flags, number, data[at + FRAME_HEAD_BYTES : end]))
            at = end
        self._unread = data[at:]
        return frames

    def _frame(self, frame: _Frame, arrived_at: float, read_at: float) -> bool:
        """Take a frame in; return whether it ended a call."""
        kind, flags, number, data = frame
        if kind in {SETTINGS, PING} and not flags & ACK:
            self.socket.sendall(_frame(kind, ACK, 0, data if kind == PING else b""))
        assert kind != GOAWAY, "the service sent this client away"
        call = self._calls.get(number)
        if call is None:
            return False
        if kind == DATA:
            self._parts[number] = _messages(self._parts[number] + data, call.messages, arrived_at, read_at)
        if kind == RST_STREAM or (kind in {HEADERS, DATA} and flags & END_STREAM):
            call.end = Came(data=data, arrived_at=arrived_at, read_at=read_at)
            del self._calls[number], self._parts[number]
            return True
        return False


def _messages(data: bytes, messages: list[Came], arrived_at: float, read_at: float) -> bytes:
    """Add the whole messages in some bytes; return the rest."""
    while len(data) >= MESSAGE_HEAD_BYTES:
        end = MESSAGE_HEAD_BYTES + int.from_bytes(data[1:MESSAGE_HEAD_BYTES], "big")
        if len(data) < end:
            break
        messages.append(Came(data=data[MESSAGE_HEAD_BYTES:end], arrived_at=arrived_at, read_at=read_at))
        data = data[end:]
    return data


def carried_out(address: str, method: str, planned: Sequence[PlannedCall], *, most_seconds: float) -> list[Call]:
    """Make the calls at their times and listen until all have ended, or the time is over."""
    lines = [Line(address, method) for _ in range(1 + max(each.connection for each in planned))]
    selector = selectors.DefaultSelector()
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
    offset = monotonic_less_wall()
    began = time.monotonic() + 0.1
    calls = [Call(due_at=began + each.at_seconds) for each in planned]
    waiting = deque(sorted(zip(calls, planned, strict=True), key=lambda each: each[0].due_at))
    left = len(calls)
    try:
        while left and (now := time.monotonic()) < began + most_seconds:
            while waiting and waiting[0][0].due_at <= now:
                call, plan = waiting.popleft()
                lines[plan.connection].begin(call, plan.messages)
            wait_seconds = waiting[0][0].due_at - time.monotonic() if waiting else began + most_seconds - now
            for key, _ in selector.select(max(0.0, wait_seconds)):
                left -= key.data.take(offset)
    finally:
        selector.close()
        for line in lines:
            line.socket.close()
    return calls


def carried_out_elsewhere(
    address: str, method: str, planned: Sequence[PlannedCall], *, most_seconds: float
) -> list[Call]:
    """Have another process make the calls; wait for it."""
    asked = {
        "address": address,
        "method": method,
        "most_seconds": most_seconds,
        "planned": [[each.at_seconds, each.connection, *map(_text, each.messages)] for each in planned],
    }
    command = [sys.executable, "-m", "benchmarks.wire_client"]
    limit_seconds = most_seconds + 6 * _GRACE_SECONDS
    done = subprocess.run(
        command, input=json.dumps(asked).encode(), capture_output=True, check=False, timeout=limit_seconds
    )
    if done.returncode:
        raise RuntimeError(f"the client failed: {done.stderr.decode()[-2_000:]}")
    return [_read(each) for each in json.loads(done.stdout)]


def lag_seconds(calls: Sequence[Call]) -> list[float]:
    """Return how long what came lay in the client's sockets before it was read."""
    came = [each for call in calls for each in (*call.messages, *(() if call.end is None else (call.end,)))]
    return [each.read_at - each.arrived_at for each in came]


def monotonic_less_wall() -> float:
    """Return what leads from the clock of stamps to the monotonic one: the closest of some readings."""
    best = (float("inf"), 0.0)
    for _ in range(100):
        before, wall, after = time.monotonic(), time.time(), time.monotonic()
        best = min(best, (after - before, (before + after) / 2 - wall))
    return best[1]


def _headers(address: str, method: str) -> bytes:
    """Return the headers of a call: literals that neither side has to remember, and so no table to keep."""
    return b"\x83\x86" + b"".join(
        (
            b"\x04" + _literal(method),
            b"\x01" + _literal(address),
            b"\x00" + _literal("te") + _literal("trailers"),
            b"\x0f\x10" + _literal("application/grpc"),
        )
    )


def _literal(text: str) -> bytes:
    assert len(text) < 127  # noqa: PLR2004  # Longer ones have another form.
    return bytes([len(text)]) + text.encode()


def _frame(kind: int, flags: int, number: int, data: bytes) -> bytes:
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _written(call: Call) -> dict[str, Any]:
    came = [*call.messages, *(() if call.end is None else (call.end,))]
    fields = [[_text(each.data), each.arrived_at, each.read_at] for each in came]
    return {"due_at": call.due_at, "sent_at": call.sent_at, "came": fields, "ended": call.end is not None}


def _read(fields: dict[str, Any]) -> Call:
    came = [
        Came(data=base64.b64decode(data), arrived_at=arrived_at, read_at=read_at)
        for data, arrived_at, read_at in fields["came"]
    ]
    end = came.pop() if fields["ended"] else None
    return Call(due_at=fields["due_at"], sent_at=fields["sent_at"], messages=came, end=end)


def _main() -> None:
    asked = json.load(sys.stdin)
    planned = [
        PlannedCall(at_seconds=at, connection=connection, messages=tuple(map(base64.b64decode, messages)))
        for at, connection, *messages in asked["planned"]
    ]
    calls = carried_out(asked["address"], asked["method"], planned, most_seconds=asked["most_seconds"])
    json.dump([_written(each) for each in calls], sys.stdout)


if __name__ == "__main__":
    _main()
