"""The command `memory-daemon`, which `command` has: imported without what it would never use."""

from memory_daemon.late_packages import settle_late
from memory_daemon.spared_packages import spared

UNUSED = ("rich", "ssl", "_hashlib", "bz2", "lzma")
"""Each is looked for by something that does without. structlog would import the first for tracebacks in colours, with a
highlighter for every language: 3 MiB. The next two load OpenSSL, 4 MiB: nothing here speaks TLS, and Python has its own
SHA-256. Nothing is unpacked either."""
LATE = (
    "asyncio",
    "grpc.aio",
    "grpc_status._async",
    "prometheus_client",
    "google.protobuf.internal.python_message",
)
"""Imported by what is used, and not asked for anything: asyncio and gRPC's API for it 9 MiB, the servers, pushers and
collectors of Prometheus' client 2, protobuf in Python, beside that in C, 1."""


def main() -> None:
    """Run the command."""
    settle_late(*LATE)
    with spared(*UNUSED):
        from memory_daemon.command import app  # noqa: PLC0415 - Everything of the daemon is imported in here.
    app()


if __name__ == "__main__":
    main()
