"""The simulation as a program: journals in, one JSON document out. `memctl simulate` and the daemon run it.

It is a process of its own, so that trying a policy never keeps the daemon from the one in force.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from memory_daemon.config import ConfigError
from memory_daemon.journal_records import Entry, read_journal
from memory_daemon.marks import GPU_POLICY, HOST_POLICY, Policy
from memory_daemon.profile_files import policy_from
from memory_daemon.simulation_report import policy_in_force, tried
from memory_daemon.simulation_trace import traces_of
from memory_daemon.types import HOST

EXIT_FAILED = 1
POLICY, POLICIES, RIVALS = "--policy=", "--policies=", "--rivals"
USAGE = f"usage: python -m memory_daemon.simulate [{POLICY}FILE|PROFILE]... [{POLICIES}JSON] [{RIVALS}] TRACE.jsonl..."
ENTRIES_MAXIMUM = 2_000_000
"""A journal of the largest size that can be configured by default has some hundred thousand."""


class SimulateError(Exception):
    """The simulation cannot be made; the message says why."""


def document(
    paths: Sequence[Path], names: Sequence[str], *, with_rivals: bool, more: Mapping[str, Policy]
) -> dict[str, Any]:
    """Return what came of all policies on all devices; raises SimulateError or ConfigError."""
    entries, unreadable = _entries(paths)
    policies = {_short(name): policy_from(name, _defaults(entries)) for name in names}
    trials = tried(entries, {**policies, **more}, with_rivals=with_rivals)
    if not trials:
        raise SimulateError("the trace has no reading of memory: is it a journal, or what `memctl record` wrote?")
    return {"devices": [asdict(trial) for trial in trials], "entries": len(entries), "unreadable": unreadable}


def main(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code."""
    names = [word.removeprefix(POLICY) for word in arguments if word.startswith(POLICY)]
    paths = [Path(word) for word in arguments if not word.startswith("--")]
    if not paths:
        sys.stderr.write(f"{USAGE}\n")
        return EXIT_FAILED
    try:
        more = _kept([word.removeprefix(POLICIES) for word in arguments if word.startswith(POLICIES)])
        json.dump(document(paths, names, with_rivals=RIVALS in arguments, more=more), sys.stdout)
    except (SimulateError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED
    return 0


def _kept(files: Sequence[str]) -> dict[str, Policy]:
    """Return the policies that the daemon hands over, which it has checked."""
    codec = TypeAdapter(dict[str, Policy])
    return {name: policy for file in files for name, policy in codec.validate_json(Path(file).read_bytes()).items()}


def _entries(paths: Sequence[Path]) -> tuple[list[Entry], int]:
    found: list[Entry] = []
    unreadable = 0
    try:
        for entry in read_journal(paths):
            if isinstance(entry, Entry):
                found.append(entry)
            else:
                unreadable += 1
            if len(found) > ENTRIES_MAXIMUM:
                raise SimulateError(f"the trace has more than {ENTRIES_MAXIMUM} records: cut it into pieces")
    except OSError as error:
        raise SimulateError(f"the trace cannot be read: {error}") from error
    return found, unreadable


def _defaults(entries: list[Entry]) -> Policy:
    kept = policy_in_force(entries)
    on_host = all(trace.device == HOST for trace in traces_of(entries))
    return kept or (HOST_POLICY if on_host else GPU_POLICY)


def _short(name: str) -> str:
    return Path(name).stem


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
