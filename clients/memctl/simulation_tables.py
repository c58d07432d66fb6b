"""A simulation as a table: a policy a row, what it costs a column."""

from collections.abc import Callable

from rich.table import Table
from rich.text import Text

from memctl.format import short_bytes, short_duration
from memctl.simulation_types import RECORDED, Outcome, Trial

COLUMNS: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
    ("BELOW CRITICAL", lambda one: short_duration(one.below_critical_seconds)),
    ("BELOW LOW", lambda one: short_duration(one.below_low_seconds)),
    ("BELOW HIGH", lambda one: short_duration(one.below_high_seconds)),
    ("DENIED", lambda one: f"{one.denials}, {short_duration(one.denied_seconds)}" if one.denials else "0"),
    ("WAITED", lambda one: f"{one.waits} of {one.requests}"),
    ("FOR", lambda one: short_duration(one.wait_seconds)),
    ("LONGEST", lambda one: short_duration(one.longest_wait_seconds)),
    ("MOVES", lambda one: f"{one.moves}"),
    ("BUSIEST MINUTE", lambda one: f"{one.busiest_minute_moves}"),
    ("TRIMS", lambda one: f"{one.trims}"),
    ("DIRECTIVES", lambda one: f"{one.directives}"),
    ("AHEAD OF NEED", lambda one: f"{one.prediction_hits} of {one.predictions}" if one.predictions else "-"),
)


def trial_title(trial: Trial) -> Text:
    """Return what a table is about: the device, how long, and the marks that time is counted against."""
    marks = trial.marks
    seconds = max((one.seconds for one in trial.outcomes), default=0.0)
    return Text(
        f"{trial.device}: {short_bytes(trial.total_bytes)}, {short_duration(seconds)}; marks "
        f"{short_bytes(marks.critical_bytes)}, {short_bytes(marks.low_bytes)}, {short_bytes(marks.high_bytes)}",
        style="bold",
    )


def trial_table(trial: Trial) -> Table:
    """Return what came of every policy on a device."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("POLICY", no_wrap=True)
    for title, _ in COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    for one in trial.outcomes:
        style = "dim" if one.name == RECORDED else ""
        table.add_row(one.name, *(tell(one) for _, tell in COLUMNS), style=style)
    return table
