"""What a run found, as tables for people."""

from collections.abc import Mapping
from typing import Any, Final

from rich.table import Table

from benchmarks.gpu_rows import Row
from benchmarks.load.capacity import Probe
from benchmarks.load.load_run import Ran
from benchmarks.speaking import Figures

NOTHING: Final = "-"


def times(figures: Figures) -> str:
    """Return percentiles in a line."""
    if not figures.count:
        return NOTHING
    p50, p95, p99, most = figures.p50_ms, figures.p95_ms, figures.p99_ms, figures.max_ms
    return f"p50 {p50:.1f}  p95 {p95:.1f}  p99 {p99:.1f}  max {most:.1f} ms  ({figures.count})"


def run_table(name: str, ran: Ran) -> Table:
    """Return what a run found."""
    tally = ran.tally
    table = Table(title=f"{name}, {tally.elapsed():.1f} s", title_justify="left", show_header=False)
    for words, value in [*_listening_rows(ran), *_refusal_rows(ran), *_machine_rows(ran)]:
        if value != NOTHING:
            table.add_row(words, value)
    return table


def _listening_rows(ran: Ran) -> list[tuple[str, str]]:
    tally = ran.tally
    factors = tally.fields()["real_time_factor"]
    factor = f"p50 {factors['p50']:.3f}  p95 {factors['p95']:.3f}  p99 {factors['p99']:.3f}"
    return [
        ("sessions", f"{tally.counts['sessions']} taken, {tally.most_open} at once"),
        ("utterances", f"{tally.counts['utterances']}, {tally.counts['interrupted']} interrupted"),
        ("first audio, from the text that it needed", times(tally.first_audio.figures())),
        ("first audio, from the first word written", times(tally.first_audio_since_text.figures())),
        ("underruns", _underruns(ran)),
        ("pauses because the client's text was late", times(tally.starved.figures())),
        ("a chunk, from room for it to its arrival", times(tally.chunk.figures())),
        ("interruption acknowledged", times(tally.acknowledged.figures())),
        ("real-time factor", factor if tally.real_time_factor.count else NOTHING),
        ("audio for each second", _audio(ran)),
        ("fairness (Jain), playback / first audio", f"{tally.rates.index:.4f} / {tally.first_audios.index:.4f}"),
    ]


def _underruns(ran: Ran) -> str:
    tally = ran.tally
    sessions = len({each["session"] for each in tally.underruns})
    if not tally.underrun.count:
        return "none"
    return (
        f"{tally.underrun.count} in {sessions} sessions and {tally.counts['utterances with an underrun']} utterances, "
        f"{tally.underrun.sum_seconds:.2f} s, {1e3 * tally.underrun.max_seconds:.0f} ms at most; "
        f"players that wait {1e3 * tally.stall.max_seconds:.0f} ms at the start would have had none"
    )


def _audio(ran: Ran) -> str:
    paced = ran.tally.audio_seconds / max(ran.tally.elapsed(), 1e-3)
    return f"{paced:.1f} s" + (f" and {ran.bulk_times_real_time:.1f} s in bulk" if ran.plan.readers else "")


def _refusal_rows(ran: Ran) -> list[tuple[str, str]]:
    tally = ran.tally
    rows = [("rejected", ", ".join(f"{count} {reason}" for reason, count in tally.rejects.items()) or "none")]
    if tally.reject.count:
        without = tally.counts["rejects without RetryInfo"]
        rows.append(("  told after", f"{times(tally.reject.figures())}, {without} without RetryInfo"))
        rows.append(("  had waited before", str(tally.counts["waited in vain"])))
    if tally.counts["arrivals"]:
        late, never = tally.counts["late arrivals"], tally.counts["arrivals that never began"]
        words = f"{tally.counts['arrivals']}, {late} late, {never} never began; {times(tally.late.figures())}"
        rows.append(("arrivals", words))
    if tally.failures or tally.refusals:
        counted = (tally.failures + tally.refusals).items()
        rows.append(("failed or refused", ", ".join(f"{count} {reason}" for reason, count in counted)))
    if tally.told:
        rows.append(("told", ", ".join(f"{count} {what}" for what, count in sorted(tally.told.items()))))
    if ran.comparisons:
        differing = [each for each in ran.comparisons if not each.is_met]
        words = f"{len(ran.comparisons)} utterances, {len(differing)} differ"
        rows.append(("the same spoken alone", words + "".join(f"; {each}" for each in differing[:3])))
    findings = "none" if not tally.findings else f"{tally.counts['findings']}: {'; '.join(tally.findings[:3])}"
    return [*rows, ("what must never be", findings)]


def _machine_rows(ran: Ran) -> list[tuple[str, str]]:
    own = times(ran.tally.own_delay.figures())
    if ran.processes is None:
        return [("the load tool itself is late by", own)]
    used = ran.processes
    service = f"{used['service_cores']:.2f} cores, {used['peak_resident_mib']:.0f} MiB at most"
    return [
        ("the service's processes", service),
        ("the load tool itself", f"{used['load_tool_cores']:.2f} cores, late by {own}"),
    ]


def probe_line(probe: Probe) -> str:
    """Return a probe as a line."""
    tally = probe.ran.tally
    first = tally.first_audio.figures()
    word = "[green]real time[/]" if probe.works else f"[red]no[/]: {probe.why}"
    cores = "" if probe.ran.processes is None else f", {probe.ran.processes['service_cores']:.2f} cores"
    return (
        f"  {probe.sessions:4d} sessions, {probe.seconds:5.1f} s, first audio p95 {first.p95_ms:6.0f} ms{cores}: {word}"
    )


def rows_table(rows: Mapping[str, Row]) -> Table:
    """Return rows beside what they are to reach."""
    table = Table(title="under load", title_justify="left")
    for column in ("row", "measured", "reach", "met", ""):
        table.add_column(column)
    for name, row in rows.items():
        bound = f"≤ {row.most:g}" if row.most is not None else f"≥ {row.least:g}"
        table.add_row(name, row.shown(row.value), bound, "yes" if row.is_met else "NO", row.spread)
    return table


def findings_table(title: str, rows: list[tuple[str, Any]]) -> Table:
    """Return some findings, one a line."""
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in rows:
        table.add_row(name, str(value))
    return table
