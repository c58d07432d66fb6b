"""Bytes on a listening socket that are no call: no HTTP/2, broken HTTP/2, and messages that never come whole."""

import contextlib
import socket
import struct
from typing import Final

from hypothesis import strategies as st

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS: Final = b"\0\0\0\4\0\0\0\0\0"
HANG_UP_AT_ONCE: Final = struct.pack("ii", 1, 0)
ANSWER_SECONDS: Final = 0.02
CONNECT_SECONDS: Final = 5.0

Target = tuple[str, int] | str
"""A host and port, or a Unix socket's path."""


def frame(kind: int, flags: int, stream: int, payload: bytes, declared: int | None = None) -> bytes:
    """Return an HTTP/2 frame; `declared` is the length that it claims."""
    length = len(payload) if declared is None else declared
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(path: str) -> bytes:
    """Return the headers of a call, in HPACK without its tables."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
        if len(value) < 127
    )


def _call(path: str, body: bytes) -> bytes:
    """Return a call whose only message is as it is."""
    return PREFACE + SETTINGS + frame(1, 4, 1, headers(path)) + frame(0, 0, 1, body)


_FRAMES: Final = st.builds(
    frame,
    st.integers(0, 12) | st.integers(0, 255),
    st.integers(0, 255),
    st.sampled_from((0, 1, 2, 3, 2**31 - 1, 2**32 - 1)),
    st.binary(max_size=80),
    st.none() | st.sampled_from((0, 1, 5, 16_385, 2**24 - 1)),
)


def hostile_stream(paths: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Return what is written to a socket."""
    path = st.sampled_from(paths)
    lengths = st.sampled_from((1, 1_000, 2**31 - 1, 2**32 - 1))
    body = st.builds(
        lambda compressed, length, data: bytes([compressed]) + length.to_bytes(4, "big") + data,
        st.sampled_from((0, 1, 2, 255)),
        lengths,
        st.binary(max_size=60),
    )
    return st.one_of(
        st.binary(max_size=300),
        st.sampled_from(
            (b"GET / HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 70_000, b"\x16\x03\x01\x02\0")
        ),
        st.builds(lambda rest: PREFACE + rest, st.binary(max_size=300)),
        st.builds(lambda frames: PREFACE + SETTINGS + b"".join(frames), st.lists(_FRAMES, max_size=12)),
        st.builds(_call, path, body),
        st.builds(lambda at, times: _call(at, b"") + frame(3, 0, 1, b"\0\0\0\x08") * times, path, st.integers(1, 100)),
        st.builds(lambda frames, at: _call(at, b"") + b"".join(frames), st.lists(_FRAMES, max_size=8), path),
    )


def pour(target: Target, data: bytes, *, abruptly: bool) -> None:
    """Write bytes to a socket and hang up, politely or not; that it hangs up first is its good right."""
    with socket.socket(socket.AF_UNIX if isinstance(target, str) else socket.AF_INET) as line:
        line.settimeout(CONNECT_SECONDS)
        line.connect(target)
        with contextlib.suppress(OSError):
            line.sendall(data)
            line.settimeout(ANSWER_SECONDS)
            line.recv(65_536)
        if abruptly:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, HANG_UP_AT_ONCE)
