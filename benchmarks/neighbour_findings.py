"""What a run of `benchmarks.neighbour` shows: how soon the daemon answered, and what was heard meanwhile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.neighbour_machines import MB, Machine
from benchmarks.neighbour_rounds import Plan, Rounds
from benchmarks.neighbour_speech import Utterance
from memory_daemon.journal import journal_files
from memory_daemon.journal_records import DecisionMade, Entry, Sampled, read_journal
from memory_daemon.types import Pressure

FREED_SHARE: Final = 0.9
"""Of what was ordered away: sizes are measured, and granules are shared."""

TRIMMED_BYTES: Final = 32 * MB
"""What allocators keep comes back in pieces; so much is an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """From the first reading below a mark to the memory that was ordered away being free; None: not seen in time."""

    pressure: str
    part: str
    reading_unix_seconds: float
    modules: tuple[str, ...]
    milliseconds: float | None


def reactions(rounds: Rounds, plan: Plan, machine: Machine, home_bytes: dict[str, int]) -> Iterator[Reaction]:
    """Yield the daemon's answers, as its journal tells when it read and what it ordered, and NVML what was free."""
    entries = [each for each in read_journal(journal_files(machine.journal)) if isinstance(each, Entry)]
    readings = list(machine.watch.readings)
    spoils = sorted([*(each.unix_seconds for each in rounds.steps), *rounds.frees])
    for step in rounds.steps:
        if step.status or step.part == "fill":
            continue
        until = min((at for at in spoils if at > step.unix_seconds), default=float("inf"))
        within = [each for each in entries if step.unix_seconds <= each.unix_seconds < until]
        pressure = Pressure.LOW if step.part == "low" else Pressure.CRITICAL
        found = _answer(within, pressure, machine.device)
        if found is None:
            continue
        reading, sample, modules = found
        ordered_bytes = sum(home_bytes.get(name.rpartition("/")[2], 0) for name in modules)
        answer_bytes = max(TRIMMED_BYTES, int(FREED_SHARE * ordered_bytes))
        enough = min(plan.high_bytes, sample.free_bytes + answer_bytes)
        freed = next((at for at, free in readings if reading < at < until and free >= enough), None)
        yield Reaction(
            pressure=pressure.value,
            part=step.part,
            reading_unix_seconds=reading,
            modules=modules,
            milliseconds=None if freed is None else 1000 * (freed - reading),
        )


def _answer(entries: Sequence[Entry], pressure: Pressure, device: str) -> tuple[float, Sampled, tuple[str, ...]] | None:
    """Return the first reading below a mark, and what was ordered away for it; None where nothing was."""
    below: tuple[float, Sampled] | None = None
    for each in entries:
        match each.record:
            case Sampled() as sample if sample.device == device and sample.pressure is pressure and below is None:
                below = (each.unix_seconds, sample)
            case DecisionMade() as made if (
                made.device == device and made.pressure is pressure and (made.evict or made.trim)
            ):
                return None if below is None else (*below, made.evict or ("what the allocator keeps",))
            case _:
                pass
    return None


def underruns_of(utterances: Sequence[Utterance], rounds: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what was heard while the modules of speech stayed, and while speech had to give way.

    What began before the first round does not count: a first utterance captures graphs.
    """
    begun = min((each["begin_unix_seconds"] for each in rounds), default=0.0)
    spans = [
        (each["gave_way_unix_seconds"], each["end_unix_seconds"]) for each in rounds if "gave_way_unix_seconds" in each
    ]
    found: dict[str, list[Utterance]] = {"kept": [], "gave_way": []}
    for each in utterances:
        if each.begin_unix_seconds < begun:
            continue
        gave_way = any(each.begin_unix_seconds < until and each.end_unix_seconds > since for since, until in spans)
        found["gave_way" if gave_way else "kept"].append(each)
    return {
        name: {
            "utterances": len(heard),
            "underruns": sum(each.underruns for each in heard),
            "errors": [each.error for each in heard if each.error],
        }
        for name, heard in found.items()
    }


def journal_evictions(journal: Path, device: str) -> list[tuple[float, str]]:
    """Return when modules were ordered away, and which."""
    entries = (each for each in read_journal(journal_files(journal)) if isinstance(each, Entry))
    return [
        (each.unix_seconds, ", ".join(name.rpartition("/")[2] for name in each.record.evict))
        for each in entries
        if isinstance(each.record, DecisionMade) and each.record.device == device and each.record.evict
    ]
