"""The rows of `benchmarks.neighbour`: what is asked of the daemon on a GPU, each with what it is to reach."""

from collections.abc import Mapping
from typing import Any

from benchmarks.gpu_rows import Row
from benchmarks.neighbour_rounds import REACTION_SECONDS


def rows_of(kept: Mapping[str, Any]) -> dict[str, Row]:
    """Return what the sections that went well found, each with what it is to reach."""
    rows: dict[str, Row] = {}
    if "sampler" in kept:
        found = kept["sampler"]
        reading = found["reading_us"]
        spread = f"p99 {reading['p99']:.1f} us of {reading['count']}"
        rows["reading_ms"] = Row(value=reading["p50"] / 1000, unit="ms", spread=spread, most=0.1)
        traces = len(found["driver_files_mapped"]) + found["is_listed"] + (found["grown_bytes"] > 0)
        rows["sampler_traces_on_gpu"] = Row(value=traces, unit="", most=0)
    if "neighbour" in kept:
        found = kept["neighbour"]
        rows |= _neighbour_rows(found) if "heard" in found else {}
        rows["rounds_broken"] = Row(value=len(found.get("broken", ())), unit="", most=0)
    if "idle" in kept:
        idle = kept["idle"]
        rows["daemon_core_percent"] = Row(value=idle["core_percent"], unit="%", most=0.5)
        rows["daemon_resident_mib"] = Row(value=idle["resident_mib"], unit="MiB", most=80)
        traces = len(idle["driver_files_mapped"]) + idle["daemon_is_listed"]
        rows["daemon_traces_on_gpu"] = Row(value=traces, unit="", most=0)
    return rows


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
    words = f"{heard['kept']['utterances']} utterances"
    rows["underruns"] = Row(value=heard["kept"]["underruns"], unit="", spread=words, most=0)
    rows["utterances_failed"] = Row(value=len(heard["kept"]["errors"]), unit="", spread=words, most=0)
    rows["rounds_speech_touched"] = Row(value=sum(not each["stayed"] for each in rounds), unit="", most=0)
    rows["rounds_not_home_again"] = Row(value=sum(each["home_seconds"] is None for each in rounds), unit="", most=0)
    return rows
