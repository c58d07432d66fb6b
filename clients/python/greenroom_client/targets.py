"""Where the service is: what people type, as what gRPC wants, and the options of a channel to it. Pure."""

import ipaddress
import re

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_PORT = 50051
LARGEST_PORT = 65535

KEEPALIVE_MILLISECONDS = 30_000
"""Half-dead connections are found in this time plus the timeout. Servers count faster pings as abuse."""
KEEPALIVE_TIMEOUT_MILLISECONDS = 10_000
MAX_SEND_BYTES = 1 << 20
"""What the service receives in one message; text is sent in far smaller pieces."""
MAX_RECEIVE_BYTES = 16 << 20
"""Audio comes in pieces of kilobytes; the rest is room for a service with large chunks."""

_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]\s/]+)(?::(?P<port>\d+))?")
_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "xds:")


def parse_target(text: str) -> str:
    """Return gRPC's target for a host, host:port, an absolute socket path or a gRPC target.

    Raises ValueError that says what is wrong.
    """
    text = text.strip()
    if text.startswith("/"):
        return f"unix:{text}"
    if text.startswith(_SCHEMES):
        return text
    if "://" in text:
        raise ValueError(f"{text!r} is a URL; write host:port, such as {DEFAULT_TARGET}")
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no address; write host:port or the path of a socket")
    port = int(match["port"] or DEFAULT_PORT)
    if not 0 < port <= LARGEST_PORT:
        raise ValueError(f"{text!r}: a port lies between 1 and {LARGEST_PORT}")
    return f"{match['host']}:{port}"


def is_local(target: str) -> bool:
    """Return whether a target (from `parse_target`) never leaves this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = target.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def channel_options(target: str, *, connect_timeout_seconds: float, version: str) -> list[tuple[str, int | str]]:
    """Return the options of a channel."""
    return [
        ("grpc.primary_user_agent", f"greenroom-python/{version}"),
        ("grpc.max_send_message_length", MAX_SEND_BYTES),
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MILLISECONDS),
        # No pings between calls, and no end to them while a session is silent (gRPC stops after two otherwise).
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),
        # Retries are `retries.py`'s alone. gRPC's own have been seen to hang for ever, deadline or not, for a call that
        # meets a server on its way out.
        ("grpc.enable_retries", 0),
        # A service that comes back is met within a second, not within gRPC's 20 s.
        ("grpc.initial_reconnect_backoff_ms", 200),
        # Despite its name the time that one attempt to connect is given, handshake included.
        ("grpc.min_reconnect_backoff_ms", round(connect_timeout_seconds * 1000)),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # A proxy of the environment would be asked for the machine's own loopback.
        ("grpc.enable_http_proxy", 0 if is_local(target) else 1),
    ]
