"""The command line: `python -m benchmarks.load --help`."""

import argparse
from pathlib import Path

from benchmarks.load.alone import Bound
from benchmarks.load.arrivals import Arrivals
from benchmarks.load.bisection import Search
from benchmarks.load.load_run import Plan
from benchmarks.load.manner import ENCODINGS, Manner
from benchmarks.load.measures import NAMES
from benchmarks.load.misbehaviour import MISBEHAVIOURS
from benchmarks.load.served import Asked
from benchmarks.load.squeeze import Squeezed

DESCRIPTION = """Put a speech service under load, as many listeners with clocks of their own, and say what they met.

Without --address a service is started for the run: the built-in voice on a CPU, or what --model and --weights name.
Without --find-capacity, --measure and --soak it holds --sessions, lets --rate arrive a second, and reads --bulk."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_modes(made)
    _add_service(made.add_argument_group("the service"))
    _add_load(made.add_argument_group("the load"))
    _add_manner(made.add_argument_group("how sessions behave"))
    _add_output(made.add_argument_group("what is kept"))
    return made


def _add_modes(made: argparse.ArgumentParser) -> None:
    modes = made.add_mutually_exclusive_group()
    modes.add_argument("--find-capacity", action="store_true", help="find how many sessions stay in real time")
    modes.add_argument(
        "--measure", type=_measures, metavar="NAMES", help=f"take measurements: all, or {','.join(NAMES)}"
    )
    modes.add_argument("--soak", action="store_true", help="everything at once; then look for what was left behind")


def _add_service(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--address", help="a service that runs on this machine, HOST:PORT")
    group.add_argument("--pid", type=int, help="its process, to tell its CPU and memory")
    group.add_argument("--control-socket", help="its control socket, for a soak")
    group.add_argument("--model", help="auto, english, multilingual, turbo or builtin")
    group.add_argument("--weights", help="hub, a folder, synthetic:full or synthetic:tiny")
    group.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    group.add_argument("--places", type=int, default=1_024, help="sessions that a service started here may take")
    group.add_argument(
        "--squeeze",
        type=Squeezed,
        choices=list(Squeezed),
        default=Squeezed.NONE,
        help="whose memory a soak makes short",
    )


def _add_load(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--seconds", type=float, help="of a run, or of a probe; 20, and 120 on a GPU's model")
    group.add_argument("--sessions", type=int, help="held all the time (8, unless --rate or --bulk is given)")
    group.add_argument("--within-seconds", type=float, default=2.0, help="in which those begin, at random")
    group.add_argument("--rate", type=float, default=0.0, help="sessions that arrive a second")
    group.add_argument("--arrivals", type=Arrivals, choices=list(Arrivals), default=Arrivals.POISSON)
    group.add_argument("--most", type=int, default=256, help="of those at once; the others wait, and are late")
    group.add_argument("--bulk", type=int, default=0, help="readers of whole texts, unpaced")
    group.add_argument("--misbehave", type=_misbehaviours, default=(), help=f"all, or {','.join(MISBEHAVIOURS)}")
    group.add_argument("--first", type=int, default=16, help="sessions of the first probe")
    group.add_argument("--at-most", type=int, default=512, help="sessions of the largest probe")
    group.add_argument("--precision", type=float, default=0.05, help="how far below the truth the answer may be")


def _add_manner(group: "argparse._ArgumentGroup") -> None:
    plain = Manner()
    group.add_argument("--seed", type=int, default=plain.seed)
    group.add_argument("--words", type=float, default=plain.words, help="of an utterance, the median")
    group.add_argument(
        "--tokens-per-second", type=float, default=plain.tokens_per_second, help="of text; 0: it comes whole"
    )
    group.add_argument("--jitter", type=float, default=plain.jitter, help="of a word's time, as a share of it")
    group.add_argument("--turns", type=int, default=plain.turns, help="utterances of a session")
    group.add_argument("--think-seconds", type=float, default=plain.think_seconds, help="between them, on average")
    group.add_argument("--barge-in", type=float, default=plain.barge_in_share, help="share of them that is interrupted")
    group.add_argument("--formats", type=_encodings, default=plain.encodings, help=f"all, or {','.join(ENCODINGS)}")
    group.add_argument("--rate-hertz", type=int, default=0, help="of the audio; 0 for the model's own")
    group.add_argument("--report-seconds", type=float, default=plain.report_seconds, help="between reports of playback")
    group.add_argument("--ahead-seconds", type=float, help="of audio that may be ahead of playback")
    group.add_argument("--delay-seconds", type=float, default=0.0, help="that a player waits after the first audio")
    group.add_argument(
        "--reproducible-every", type=int, default=0, help="so-many-th session asks for the same bytes always; 0: none"
    )
    group.add_argument("--max-segment-tokens", type=int, default=0, help="that a segment may have")


def _add_output(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--check", type=int, default=0, help="utterances that are spoken again alone and compared")
    group.add_argument("--check-error", type=float, default=0.0, help="by which they may differ; 0: the same bytes")
    group.add_argument("--check-seconds", type=float, default=0.0, help="of each that are compared; 0: all")
    group.add_argument("--json", type=Path, help="a file for all figures")
    group.add_argument("--plot", type=Path, help="a file for the picture of a run or a soak")
    group.add_argument("--rows", type=Path, help="a file whose rows are renewed, such as benchmarks/results/load.json")


def asked_of(options: argparse.Namespace) -> Asked:
    """Return which service is meant."""
    return Asked(
        address=options.address,
        model=options.model,
        weights=options.weights,
        device=options.device,
        sessions_most=options.places,
        pid=options.pid,
        control_socket=options.control_socket,
    )


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the run that is meant, for a model and a voice that are not known yet."""
    sessions = options.sessions
    if sessions is None:
        sessions = 0 if options.rate or options.bulk else 8
    is_small = options.model in {None, "auto", "builtin"}
    return Plan(
        seconds=options.seconds or (20.0 if is_small else 120.0),
        manner=_manner(options),
        sessions=sessions,
        within_seconds=options.within_seconds,
        rate_per_second=options.rate,
        arrivals=options.arrivals,
        most=options.most,
        readers=options.bulk,
        checked=options.check,
        bound=Bound(error=options.check_error, seconds=options.check_seconds),
        misbehaving=options.misbehave,
    )


def search_of(options: argparse.Namespace) -> Search:
    """Return the search for a capacity."""
    return Search(first=options.first, most=options.at_most, precision=options.precision)


def _manner(options: argparse.Namespace) -> Manner:
    return Manner(
        seed=options.seed,
        encodings=options.formats,
        sample_rate_hertz=options.rate_hertz,
        words=options.words,
        tokens_per_second=options.tokens_per_second,
        jitter=options.jitter,
        turns=options.turns,
        think_seconds=options.think_seconds,
        barge_in_share=options.barge_in,
        report_seconds=options.report_seconds,
        ahead_seconds=options.ahead_seconds,
        delay_seconds=options.delay_seconds,
        max_segment_tokens=options.max_segment_tokens,
        reproducible_every=options.reproducible_every,
    )


def _chosen(said: str, names: tuple[str, ...]) -> tuple[str, ...]:
    chosen = names if said == "all" else tuple(said.split(","))
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(names)}, or say all")
    return chosen


def _measures(said: str) -> tuple[str, ...]:
    return _chosen(said, NAMES)


def _misbehaviours(said: str) -> tuple[str, ...]:
    return _chosen(said, tuple(MISBEHAVIOURS))


def _encodings(said: str) -> tuple[str, ...]:
    return _chosen(said, tuple(ENCODINGS))
