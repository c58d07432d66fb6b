"""The tables of `gpu_savings`, and which of its promises are not kept."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

WHO: Final = {"upstream": "upstream", "resident": "ours, all on the device", "offloaded": "ours, encoders on HOST"}
MOMENTS: Final = ("start", "loaded", "voice created", "utterance")

SAVED_MIB: Final = 500.0
CHUNK_RATIO: Final = 1.01
TOLERANCE: Final = 1e-4
"""In fp32, of the largest value where that is above 1."""

LOADING_RATIO: Final = 1.15


def print_tables(console: Console, kept: Mapping[str, Any]) -> None:
    """Print what was found, model by model."""
    for model, parts in kept["models"].items():
        speaking = {who: parts[who] for who in WHO if who in parts and "failed" not in parts[who]}
        if speaking:
            console.print(_memory_table(model, speaking), _time_table(model, speaking))
        if "rows" in parts.get("fidelity", {}):
            console.print(_fidelity_table(model, parts["fidelity"]["rows"]))
        if "tenths" in parts.get("endurance", {}):
            console.print(_endurance_table(model, parts["endurance"]))


def failures(kept: Mapping[str, Any]) -> list[str]:
    """Return what failed or is not as promised; memory and time are judged at full size on a GPU only."""
    return [f"{model}: {each}" for model, parts in kept["models"].items() for each in _failures(kept, parts)]


def saved_mib(parts: Mapping[str, Any], moment: str, name: str) -> float | None:
    """Return how much less is held with the encoders on HOST; None where memory was not measured."""
    there, away = (parts[who]["memory"][moment].get(name) for who in ("resident", "offloaded"))
    return None if there is None or away is None else float(there - away)


def _failures(kept: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[str]:
    failed = {part: found["failed"] for part, found in parts.items() if "failed" in found}
    for part, words in failed.items():
        yield f"{part} failed: {words}"
    rows = parts.get("fidelity", {}).get("rows", {})
    yield from (
        f"{name} differs by {row['error']:.1e}, the largest value is {row['peak']:.1f}"
        for name, row in rows.items()
        if not row["error"] <= TOLERANCE * max(1.0, row["peak"])
    )
    if {"resident", "offloaded"} - (parts.keys() - failed.keys()):
        return
    chunks, loading = parts["offloaded"]["chunks"], parts["offloaded"]["loading"]
    if not chunks["same_samples"]:
        yield "offloading changed the samples"
    if kept["size"] == "full" and parts["offloaded"]["memory"]["loaded"]:
        for moment in MOMENTS[1:]:
            saved = saved_mib(parts, moment, "allocated")
            if saved is None or saved < SAVED_MIB:
                yield f"{moment}: the encoders on HOST save {saved} MiB, {SAVED_MIB:.0f} are promised"
        if chunks["ratio"] > CHUNK_RATIO:
            yield f"chunks take {chunks['ratio']:.3f} times as long without the encoders"
        if loading["peak_to_weights"] > LOADING_RATIO:
            yield f"loading took {loading['peak_to_weights']:.2f} times the weights' size"


def _memory_table(model: str, speaking: Mapping[str, Any]) -> Table:
    table = Table(title=f"{model}: GPU memory in MiB, torch's allocated / reserved / NVML's for the device")
    table.add_column("")
    for moment in (*MOMENTS, "peak of an utterance"):
        table.add_column(moment, justify="right")
    for who, found in speaking.items():
        readings = [found["memory"][moment] for moment in MOMENTS]
        names = ("allocated", "reserved", "device")
        cells = [" / ".join(_mib(reading.get(name)) for name in names) for reading in readings]
        last = readings[-1]
        peak = " / ".join(_mib(last.get(name)) for name in ("peak_allocated", "peak_reserved", "device"))
        table.add_row(WHO[who], *cells, peak)
    if {"resident", "offloaded"} <= speaking.keys():
        saved = [
            [saved_mib(speaking, moment, name) for name in ("allocated", "reserved", "device")] for moment in MOMENTS
        ]
        peak_saved = [saved_mib(speaking, "utterance", name) for name in ("peak_allocated", "peak_reserved", "device")]
        table.add_row("saved", *(" / ".join(map(_mib, each)) for each in (*saved, peak_saved)))
    return table


def _time_table(model: str, speaking: Mapping[str, Any]) -> Table:
    table = Table(title=f"{model}: time")
    headings = (
        "speech, s",
        "real-time factor",
        "first audio, ms",
        "voice, ms",
        "loading peak / weights",
        "chunk ratio",
    )
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    for who, found in speaking.items():
        loading, chunks = found.get("loading"), found.get("chunks")
        table.add_row(
            WHO[who],
            f"{found['speech_seconds']:.2f}",
            f"{found['real_time_factor']:.3f}",
            f"{1000 * found['first_audio_seconds']:.0f}",
            f"{1000 * found['voice_seconds']:.0f}",
            f"{loading['peak_to_weights']:.2f}" if loading else "-",
            f"{chunks['ratio']:.4f}" if chunks else "-",
        )
    return table


def _fidelity_table(model: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title=f"{model}: ours against upstream's functions, fp32 without TF32")
    for heading in ("", "largest error", "largest value"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in rows.items():
        table.add_row(name, f"{row['error']:.1e}", f"{row['peak']:.2f}")
    return table


def _endurance_table(model: str, found: Mapping[str, Any]) -> Table:
    table = Table(title=f"{model}: {found['utterances']} utterances with mixed voices, medians of each tenth")
    names = tuple(found["tenths"][0])
    for name in ("", *names):
        table.add_column(name.replace("_", " "), justify="right")
    for number, tenth in enumerate(found["tenths"], start=1):
        table.add_row(f"{number}", *(f"{tenth[name]:.3f}" for name in names))
    return table


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
