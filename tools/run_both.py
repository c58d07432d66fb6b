"""`make run`: both processes on their default addresses, until Ctrl-C, with what to type next."""

import subprocess
import sys
import time

from rich.console import Console

NEXT = """
[bold]Both are running.[/bold] In another terminal:

  .venv/bin/tts-say "Good evening, and welcome." --output hello.wav
  .venv/bin/memctl top
  .venv/bin/memctl set low=15% high=25%
  .venv/bin/memctl evict watermark.detector --for 1m

Ctrl-C stops both.
"""


def main() -> int:
    """Run both until interrupted, or until one of them ends."""
    console = Console(stderr=True)
    commands = [[sys.executable, "-m", name] for name in ("tts_service", "memory_daemon")]
    running = [subprocess.Popen(command, start_new_session=True) for command in commands]  # noqa: S603  # Our own.
    console.print(NEXT)
    try:
        while all(process.poll() is None for process in running):
            time.sleep(0.2)
    except KeyboardInterrupt:
        return 0
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(30)
    console.print("[red]One of them ended by itself; stopped the other one.[/red]")
    return 1


if __name__ == "__main__":
    sys.exit(main())
