"""`memctl top` and `memctl watch`: what the daemon sees and does, as it happens."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.segment import Segment, Segments
from rich.text import Text

from memctl.bars import ASCII, BLOCKS
from memctl.documents import status_document
from memctl.feed import StatusFeed
from memctl.format import clock, short_bytes
from memctl.frame import frame
from memctl.invocation import By, Invocation, asker
from memctl.line import PAST_SECONDS, Glimpse, Line, with_points
from memctl.screen import show
from memctl.service_frame import Canvas
from memctl.standing import standing
from memctl.tables import Reader
from memctl.tuner import PANEL_ROWS, Tuner
from memctl.tuning import Key
from memctl.types import Status


def top(
    run: Invocation,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Print one frame and leave, as is done without a terminal.")
    ] = False,
    by: By = None,
) -> None:
    """Show memory, modules and decisions live, and tune with keys; q leaves.

    On each bar the letters H, L and C stand where memory would be high, low or critical. Below it, where there is room,
    is what was free over the last minutes, with the marks as lines. IN USE is steps that use the module now / open
    utterances with an interest in it. When the daemon restarts, the view says so and comes back.

    Keys: up and down choose a number of the policy, left and right change it; Tab chooses a module, and p, h, e, r pin,
    hold, evict, release it; d is dry run, f freeze or thaw, u undo. Nothing happens before Enter.

    Examples:
      memctl top
      memctl top --once
      COLUMNS=200 memctl top --once | less -R
    """
    with run.daemon() as link:
        stream = link.watch(past_seconds=PAST_SECONDS)
        try:
            first = next(iter(stream))
        finally:
            stream.cancel()
    if run.json:
        run.answer(status_document(first, run.clock()))
    elif once or not run.out.is_terminal:
        points = with_points(stream.past, first)
        glimpse = Glimpse(status=first, received_unix_seconds=run.clock(), line=Line(), points=points)
        run.out.print(frame(glimpse, run.reader(), canvas_of(run.out, height=None)))
    else:
        _live(run, first, by)


def watch(
    run: Invocation,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="Leave after so many. Default: never.")
    ] = None,
) -> None:
    """Print what the daemon sees and does, one line now and one every tick; with --json, one JSON object a line.

    Ends with exit code 3 when the daemon does.

    Examples:
      memctl watch --json
      memctl watch --json --count 1
      memctl watch --json | jq .devices[0].free_bytes
    """
    with run.daemon() as link:
        stream = link.watch()
        try:
            for status in _first(iter(stream), count):
                run.answer(status_document(status, run.clock()), summary(status, run.reader()))
        finally:
            stream.cancel()


def canvas_of(console: Console, *, height: int | None) -> Canvas:
    """Return what a console can show: its width, and blocks where its encoding has them."""
    return Canvas(width=console.width, height=height, glyphs=ASCII if console.options.ascii_only else BLOCKS)


def summary(status: Status, reader: Reader) -> Text:
    """Return a status in one line."""
    devices = [
        f"{one.device} {one.pressure} {one.error or f'{short_bytes(one.free_bytes)} free'}" for one in status.devices
    ]
    modules = [module for one in status.services if one.report for module in one.report.modules]
    home = sum(module.tier is module.home for module in modules)
    last = f"  last: {status.decisions[0].reason}" if status.decisions else ""
    time = clock(reader.now_unix_seconds, reader.zone)
    held = standing(status, reader)
    return Text(
        f"{time}  {', '.join(devices)}  {home} of {len(modules)} modules home{f'  {held}' if held else ''}{last}"
    )


def _first(statuses: Iterator[Status], count: int | None) -> Iterator[Status]:
    return statuses if count is None else islice(statuses, count)


def _live(run: Invocation, first: Status, by: str | None) -> None:
    feed, tuner = StatusFeed(run.daemon, first, clock=run.clock), Tuner(run.daemon, asker=asker(by))

    def draw() -> RenderableType:
        canvas = replace(canvas_of(run.out, height=run.out.height - PANEL_ROWS), selected=tuner.selected)
        drawn = frame(feed.glimpse(), run.reader(), canvas)
        return Group(_exactly(drawn, run.out, canvas), *tuner.panel())

    def on_key(key: Key) -> bool:
        tuner.press(key, feed.glimpse().status)
        return tuner.leaves

    feed.start()
    try:
        show(run.out, draw, on_key)
    finally:
        tuner.close()
        feed.stop()


def _exactly(drawn: RenderableType, console: Console, canvas: Canvas) -> RenderableType:
    """Return a frame on exactly the rows of its canvas, so that what stands below it stays where it is."""
    options = console.options.update(width=canvas.width, height=canvas.height)
    lines = console.render_lines(drawn, options, pad=False)
    rows = Segment.set_shape(lines, canvas.width, canvas.height)
    return Segments([segment for row in rows for segment in (*row, Segment.line())])
