"""The engine's process, as the front end starts it: not for people.

It ends when the front end does, however that ends: its end of the channel closes, and the kernel kills it besides.
Signals that a terminal or a service manager sends to all processes are the front end's to answer.
"""

import argparse
import sys

from tts_service.engine_process.engine_run import run_engine
from tts_service.engine_process.process_rules import die_with, leave_signals_alone


def main() -> None:
    """Run the engine."""
    parser = argparse.ArgumentParser(description="The engine of tts-service, which starts it.")
    for name in ("channel", "lock", "shelf", "parent"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--masters", type=int, nargs="*", default=[])
    given = parser.parse_args()
    die_with(given.parent)
    leave_signals_alone()
    masters = {each: each for each in given.masters}
    sys.exit(run_engine(channel=given.channel, lock=given.lock, shelf=given.shelf, masters=masters))


if __name__ == "__main__":
    main()
