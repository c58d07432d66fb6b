"""The rows of `benchmarks.neighbour`: what is asked of the daemon on a GPU, each with what it is to reach."""

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.gpu_rows import Row
from benchmarks.neighbour_rounds import REACTION_SECONDS
from tests.fakes.driver_traces import holds_context

NO_BARE: Final[dict[str, Any]] = {"open": [], "mapped": [], "before_mib": 0.0, "resident_mib": 0.0}
"""Where the sampler's section failed there is nothing to compare with, and whatever is open counts."""


def rows_of(kept: Mapping[str, Any]) -> dict[str, Row]:
    """Return what the sections that went well found, each with what it is to reach."""
    rows: dict[str, Row] = {}
    if "sampler" in kept:
        found = kept["sampler"]
        reading = found["reading_us"]
        spread = f"p99 {reading['p99']:.1f} us of {reading['count']}"
        rows["reading_ms"] = Row(value=reading["p50"] / 1000, unit="ms", spread=spread, most=0.1)
        traces = holds_context(found["traces"], found["bare"]) + found["is_listed"] + (found["grown_bytes"] > 0)
        rows["sampler_traces_on_gpu"] = Row(value=traces, unit="", spread=_driver_words(found["traces"]), most=0)
    if "neighbour" in kept:
        found = kept["neighbour"]
        rows |= _neighbour_rows(found) if "heard" in found else {}
        rows["rounds_broken"] = Row(value=len(found.get("broken", ())), unit="", most=0)
    if "idle" in kept:
        idle = kept["idle"]
        rows["daemon_core_percent"] = Row(value=idle["core_percent"], unit="%", most=0.5)
        bare = kept.get("sampler", {}).get("bare", NO_BARE)
        brought_mib = bare["resident_mib"] - bare["before_mib"]
        words = f"{brought_mib:.1f} MiB of it NVML's own, as in a process that does nothing else"
        rows["daemon_resident_mib"] = Row(value=idle["resident_mib"], unit="MiB", spread=words, most=80)
        traces = holds_context(idle["traces"], bare) + idle["daemon_is_listed"]
        words = f"{_driver_words(idle['traces'])}; bare NVML: {_driver_words(bare)}"
        rows["daemon_traces_on_gpu"] = Row(value=traces, unit="", spread=words, most=0)
    return rows


def _driver_words(traces: Mapping[str, Any]) -> str:
    opened = ", ".join(name.removeprefix("/dev/") for name in traces["open"]) or "no device"
    mapped = ", ".join(name.rpartition("/")[2] for name in traces["mapped"]) or "nothing of CUDA"
    return f"{opened} open, {mapped} mapped"


def _neighbour_rows(kept: Mapping[str, Any]) -> dict[str, Row]:
    plan, rounds, heard = kept["plan"], kept["rounds"], kept["heard"]
    rows: dict[str, Row] = {}
    due_ms = 1000 * (REACTION_SECONDS + plan["period_seconds"])
    for pressure, most in (("critical", due_ms), ("low", due_ms + 1000 * plan["grace_seconds"])):
        asked = [each["milliseconds"] for each in kept["reactions"] if each["pressure"] == pressure]
        seen = sorted(each for each in asked if each is not None)
        if seen:
            words = f"median {seen[len(seen) // 2]:.1f} ms; {len(seen)} of {len(asked)} seen before the next step"
            rows[f"reaction_{pressure}_worst_ms"] = Row(value=seen[-1], unit="ms", spread=words, most=most)
            rows[f"reaction_{pressure}_unseen"] = Row(value=len(asked) - len(seen), unit="", most=0)
    for part in ("idle", "speech"):
        steps = [each for each in kept["steps"] if each["part"] == part]
        failed = sum(each["status"] != 0 for each in steps)
        words = f"of {len(steps)} steps of {plan['step_bytes'] / 1e6:.0f} MB"
        rows[f"steps_failed_{part}"] = Row(value=failed, unit="", spread=words, most=0)
    rows |= _heard_rows(heard, sum(each["kind"] == "spare" for each in rounds))
    rows["rounds_speech_touched"] = Row(value=sum(not each["stayed"] for each in rounds), unit="", most=0)
    rows["rounds_not_home_again"] = Row(value=sum(each["home_seconds"] is None for each in rounds), unit="", most=0)
    return rows


def _heard_rows(heard: Mapping[str, Any], spare_rounds: int) -> dict[str, Row]:
    """Return what was heard while speech had all it needs, which is to be as ever, and while it had to give way.

    There utterances may wait, and none may fail. Where nobody was heard nothing was shown, and the row is missed.
    """
    kept, gave_way = heard["kept"], heard["gave_way"]
    words = "while speech has what it needs"
    waited = f"while everything is taken; {gave_way['underruns']} underruns, which are allowed there"
    return {
        "utterances_kept": Row(value=kept["utterances"], unit="", spread=words, least=max(1, spare_rounds)),
        "underruns_kept": Row(value=kept["underruns"], unit="", spread=words, most=0),
        "failed_kept": Row(value=len(kept["errors"]), unit="", spread=words, most=0),
        "utterances_gave_way": Row(value=gave_way["utterances"], unit="", spread=waited, least=1),
        "failed_gave_way": Row(value=len(gave_way["errors"]), unit="", spread=waited, most=0),
    }
