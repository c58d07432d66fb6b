"""A simulation as a table: a policy a row, what it costs a column."""

from collections.abc import Callable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from memctl.format import NOTHING, short_bytes, short_duration
from memctl.simulation_types import RECORDED, Outcome, Trial


def _waited(one: Outcome) -> str:
    """Return how many requests waited, of how many; services count waits in steps, of which a request has several."""
    return f"{one.waits} of {one.requests}" if one.waits <= one.requests else str(one.waits)


def _unmeasured(one: Outcome) -> bool:
    """Tell whether only the sum of the waits is known, as in what a service has recorded."""
    return one.waits > 0 and not one.longest_wait_seconds


COLUMNS: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
    ("BELOW CRITICAL", lambda one: short_duration(one.below_critical_seconds)),
    ("BELOW LOW", lambda one: short_duration(one.below_low_seconds)),
    ("BELOW HIGH", lambda one: short_duration(one.below_high_seconds)),
    ("DENIED", lambda one: f"{one.denials}, {short_duration(one.denied_seconds)}" if one.denials else "0"),
    ("WAITED", _waited),
    ("FOR", lambda one: short_duration(one.wait_seconds)),
    ("LONGEST", lambda one: NOTHING if _unmeasured(one) else short_duration(one.longest_wait_seconds)),
    ("MOVES", lambda one: f"{one.moves}"),
    ("BUSIEST MINUTE", lambda one: f"{one.busiest_minute_moves}"),
    ("TRIMS", lambda one: f"{one.trims}"),
    ("DIRECTIVES", lambda one: f"{one.directives}"),
    ("AHEAD OF NEED", lambda one: f"{one.prediction_hits} of {one.predictions}" if one.predictions else "-"),
)

_GAP = 2
_LABEL_WIDTH = max(len(title) for title, _ in COLUMNS)


def trial_title(trial: Trial) -> Text:
    """Return what a table is about: the device, how long, and the marks that time is counted against."""
    marks = trial.marks
    seconds = max((one.seconds for one in trial.outcomes), default=0.0)
    return Text(
        f"{trial.device}: {short_bytes(trial.total_bytes)}, {short_duration(seconds)}; "
        f"critical {short_bytes(marks.critical_bytes)}, low {short_bytes(marks.low_bytes)}, "
        f"high {short_bytes(marks.high_bytes)}",
        style="bold",
    )


def trial_tables(trial: Trial, width: int) -> Sequence[RenderableType]:
    """Return what came of every policy on a device: a policy a row if that fits, else a policy a column, in blocks."""
    if _row_width(trial) <= width:
        return [_by_rows(trial)]
    blocks: list[list[Outcome]] = [[]]
    for one in trial.outcomes:
        if blocks[-1] and _LABEL_WIDTH + sum(map(_column_width, [*blocks[-1], one])) > width:
            blocks.append([])
        blocks[-1].append(one)
    return [part for block in blocks for part in (Text(""), _by_columns(block))][1:]


def _row_width(trial: Trial) -> int:
    cells = [[title, *(tell(one) for one in trial.outcomes)] for title, tell in COLUMNS]
    names = max(len(one.name) for one in trial.outcomes) if trial.outcomes else 0
    return names + sum(_GAP + max(map(len, column)) for column in cells)


def _column_width(one: Outcome) -> int:
    return _GAP + max(len(one.name), *(len(tell(one)) for _, tell in COLUMNS))


def _by_columns(outcomes: Sequence[Outcome]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    table.add_column("POLICY", no_wrap=True)
    for one in outcomes:
        table.add_column(one.name, justify="right", no_wrap=True, style="dim" if one.name == RECORDED else "")
    for title, tell in COLUMNS:
        table.add_row(title, *(tell(one) for one in outcomes))
    return table


def _by_rows(trial: Trial) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    table.add_column("POLICY", no_wrap=True)
    for title, _ in COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    for one in trial.outcomes:
        style = "dim" if one.name == RECORDED else ""
        table.add_row(one.name, *(tell(one) for _, tell in COLUMNS), style=style)
    return table
