"""`make fuzz`: hostile bytes and messages on both servers for as long as is asked, each round with a seed of its own.

python -m tools.fuzz --seconds 600 --seed 7
"""

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import Campaign, begun
from tests.fuzz.fuzzed_pair import fuzzed_pair
from tools.process import end_on_signals

EXAMPLES = 60


def main() -> int:
    """Run rounds until the time is up or something went wrong; 1 if it did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first round; the next ones follow")
    options = parser.parse_args()
    first = secrets.randbits(31) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="greenroom-fuzz-") as folder, fuzzed_pair(Path(folder)) as pair:
        begun(pair, EXAMPLES)
        deadline = time.monotonic() + options.seconds
        number, wrong = first, list[str]()
        while not wrong and time.monotonic() < deadline:
            campaign = Campaign(pair, seed_number=number, examples=EXAMPLES)
            wrong = campaign.round()
            print(f"seed {number}: {campaign!r} | {pair.footprints()}", flush=True)
            number += 1
        wrong += pair.growth()
        for words in wrong:
            print(f"WRONG (--seed {number - 1}): {words}")
        for method, answers in campaign.answers.items():
            print(f"{method:<62}{', '.join(f'{code} {count}' for code, count in answers.most_common())}")
    return 1 if wrong else 0


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main())
