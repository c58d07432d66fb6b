"""`memctl simulate` and `memctl record`: what another policy would have done, and a trace to try it on."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from memctl.errors import MemctlError
from memctl.invocation import Invocation
from memctl.link import StatusStream
from memctl.operator_types import Trying
from memctl.recording import Recording
from memctl.simulation_tables import trial_tables, trial_title
from memctl.simulation_types import Trial
from memctl.simulator import LONGEST_SECONDS, simulated
from memctl.trying import trying
from memctl.types import Status


def simulate(
    run: Invocation,
    traces: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TRACE.jsonl", help="Journals, or what `record` wrote. Default: the daemon's own."),
    ] = None,
    *,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="FILE|PROFILE", help="A policy to try; may be repeated."),
    ] = None,
    rivals: Annotated[
        bool, typer.Option("--rivals", help="Try no policy, a threshold, an idle timeout and all-or-nothing too.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw memory over time into a .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Replay a trace under other policies, and show what each would have done beside what really was.

    The policy that was in force is always tried too: where it differs from what was recorded, the simulation does.
    A policy is a TOML file with a table [policy], or the name of one that ships: balanced, low-memory, latency-first,
    neighbour-first. With a trace no daemon is needed. Without one the daemon tries them on its own journal, while it
    goes on deciding; a file's numbers then stand above the policy in force.

    Examples:
      memctl simulate --policy neighbour-first --rivals
      memctl simulate --policy new.toml trace.jsonl
      memctl simulate --policy low-memory --policy new.toml trace.jsonl
      memctl simulate --policy new.toml --plot rehearsal.png trace.jsonl --json
    """
    policies = tuple((one, trying(one)) for one in policy or ())
    if traces:
        found = simulated(traces, [one for one, _ in policies], with_rivals=rivals)
    else:
        found = _asked(run, [one for _, one in policies], rivals=rivals)
    if plot is not None:
        _draw(found, plot)
        run.remark(f"Drawn into {plot}.")
    shown = [part for trial in found for part in (trial_title(trial), *trial_tables(trial, run.out.width))]
    run.answer({"devices": found, "plot": plot}, *shown)


def record(
    run: Invocation,
    trace: Annotated[Path, typer.Argument(metavar="TRACE.jsonl", help="The file to write; it must not exist.")],
    *,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="Leave after so many ticks. Default: Ctrl-C.")
    ] = None,
) -> None:
    """Write down what the daemon sees, as a trace for `memctl simulate`, until Ctrl-C or so many ticks.

    Examples:
      memctl record trace.jsonl
      memctl record trace.jsonl --count 600
    """
    with run.daemon() as link:
        stream = link.watch()
        try:
            written = _write(trace, _some(stream, count), run)
        finally:
            stream.cancel()
    run.answer({"trace": trace, "lines": written}, Text(f"{written} lines in {trace}."))


def _asked(run: Invocation, policies: Sequence[Trying], *, rivals: bool) -> tuple[Trial, ...]:
    """Return what the daemon says that policies would have done."""
    with run.daemon() as link:
        return link.simulate(tuple(policies), rivals=rivals, timeout_seconds=LONGEST_SECONDS + run.timeout_seconds)


def _write(path: Path, statuses: Iterator[Status], run: Invocation) -> int:
    recording, written = Recording(), 0
    try:
        with path.open("x", encoding="utf-8") as file:
            for status in statuses:
                for line in recording.lines(status, run.clock()):
                    file.write(f"{line}\n")
                    written += 1
                file.flush()
    except KeyboardInterrupt:
        # The end that was asked for: what is written is whole lines.
        return written
    except FileExistsError as error:
        raise MemctlError(
            f"{path} is there already, and a trace is never written over.",
            reason="TRACE_NOT_WRITTEN",
            way_out="Name another file, or remove this one.",
        ) from error
    except OSError as error:
        raise MemctlError(
            f"{path} cannot be written: {error}", reason="TRACE_NOT_WRITTEN", way_out="Name another file."
        ) from error
    return written


def _some(stream: StatusStream, count: int | None) -> Iterator[Status]:
    return iter(stream) if count is None else islice(stream, count)


def _draw(found: tuple[Trial, ...], path: Path) -> None:
    """Draw, or say why not: the library is an extra, and a file can be unwritable or of a kind it does not know."""
    try:
        from memctl.simulation_plot import draw  # noqa: PLC0415  matplotlib is an extra, and half a second.
    except ImportError as error:
        raise MemctlError(
            f"Drawing needs matplotlib: {error}.",
            reason="NO_MATPLOTLIB",
            way_out="Install it with `pip install 'greenroom[client]'`, or leave out --plot.",
        ) from error
    try:
        draw(found, path)
    except (OSError, ValueError) as error:
        raise MemctlError(
            f"{path} cannot be written: {error}", reason="PLOT_FAILED", way_out="Name another file with --plot."
        ) from error
