"""The command `memory-daemon`, which `command` has: imported without what it would never use."""

from memory_daemon.spared_packages import spared

UNUSED = ("rich",)
"""structlog would import it for tracebacks in colours, with a highlighter for every language: 3 MiB."""


def main() -> None:
    """Run the command."""
    with spared(*UNUSED):
        from memory_daemon.command import app  # noqa: PLC0415 - Everything of the daemon is imported in here.
    app()


if __name__ == "__main__":
    main()
