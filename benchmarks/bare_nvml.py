"""A process that begins NVML and does nothing else: what a driver's library brings into whoever reads memory with it.

`python -m benchmarks.bare_nvml` says a line of JSON to each line of its input: what it held before NVML and holds now.
"""

import json
import sys

import pynvml

from tests.fakes.driver_traces import resident_mib


def main() -> None:
    """Begin NVML, and answer until there is nobody who asks."""
    before_mib = resident_mib("self")
    pynvml.nvmlInit()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps({"before_mib": before_mib, "resident_mib": resident_mib("self")}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
