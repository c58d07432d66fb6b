"""`make demo`: the whole system in one run, on real input.

Starts the service and the daemon, streams a text word by word, tightens a threshold live until modules leave, speaks
again (they come back on demand), verifies the watermark of both recordings, prints a table. Exits 0 if all of it held.
"""

import argparse
import asyncio
import itertools
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from rich.console import Console
from rich.table import Table

from greenroom.memory.v1 import policy_pb2, residency_pb2
from greenroom_client.aio import Client
from greenroom_client.command.wav import wav_header
from greenroom_client.config import Pacing
from greenroom_client.events import UtteranceResult
from greenroom_client.values import Verdict, Watermark
from tools.both import Both
from tools.process import NotReadyError, end_on_signals

TEXT = Path(__file__).with_name("demo.txt")
OUT = Path("demo-out")
SAMPLE_RATE_HERTZ = 24_000
"""Every model's own."""

WORD_SECONDS = 0.02
"""Fifty words a second: a fast language model."""

LEAVE_SECONDS = 30.0
VOICE_AND_DETECTION = {"s3gen.tokenizer", "s3gen.speaker_encoder", "voice_encoder", "watermark.detector"}
"""What no recording needs; these come when they are asked for."""

ROOMY = {"CRITICAL": "1MiB", "LOW": "2MiB", "HIGH": "3MiB"}
"""The policy to begin with: on a machine that is short of memory, too, modules leave only when the demo says so."""

TIER_NAMES = {residency_pb2.TIER_DEVICE: "device", residency_pb2.TIER_HOST: "host", residency_pb2.TIER_DISK: "disk"}

console = Console()


class DemoFailedError(Exception):
    """Something that the demo shows did not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One recording and how it came about."""

    path: Path
    result: UtteranceResult
    tiers_before: str
    tiers_after: str
    watermark: Watermark


def main() -> int:
    """Run the demo."""
    options = parse_options(sys.argv[1:])
    end_on_signals()
    shutil.rmtree(OUT, ignore_errors=True)
    policy = {f"GREENROOM_DAEMON_POLICY__{name}": mark for name, mark in ROOMY.items()}
    try:
        both = Both(OUT / "run", model=options.model, weights=options.weights, daemon_env=policy)
        with console.status("starting tts-service and memory-daemon"), both:
            console.print(f"[green]✓[/green] both processes are up (logs in {OUT / 'run'})")
            spoken = asyncio.run(_demo(both))
        _print_table(spoken)
        _check(spoken)
    except (DemoFailedError, NotReadyError) as error:
        console.print(f"[red]✗ {error}[/red]")
        return 1
    console.print(f"[green]✓[/green] everything held; listen to {spoken[0].path} and {spoken[1].path}")
    return 0


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what is to speak; without options, what suits the machine."""
    parser = argparse.ArgumentParser(prog="make demo", description="Show the whole system in one run.")
    parser.add_argument("--model", help="auto, english, multilingual, turbo or builtin")
    parser.add_argument("--weights", help="hub, a folder, synthetic or synthetic:tiny")
    return parser.parse_args(arguments)


async def _demo(both: Both) -> list[Spoken]:
    async with Client(both.speech_address) as client:
        models = ", ".join(model.id for model in (await client.info()).models)
        console.print(f"[green]✓[/green] it speaks with the model {models}")
        _check_at_home(both)
        first = await _speak(client, both, OUT / "first.wav")
        console.print(f"[green]✓[/green] spoke {TEXT.name} word by word into {first.path}")
        gone = await asyncio.to_thread(_tighten_until_modules_leave, both)
        console.print(f"[green]✓[/green] tightened a threshold live; left: {', '.join(gone)}")
        second = await _speak(client, both, OUT / "second.wav")
        console.print("[green]✓[/green] spoke again; what was needed came back on demand")
        return [first, second]


async def _speak(client: Client, both: Both, path: Path) -> Spoken:
    before = _tiers(both)
    async with client.session(seed=7, pacing=Pacing.NONE) as session:
        utterance = session.utterance()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(utterance.write_all(_words(TEXT.read_text())))
            pieces = [chunk.data async for chunk in utterance]
        result = await utterance.done()
    _write_wav(path, b"".join(pieces))
    after = _tiers(both)
    return Spoken(
        path=path,
        result=result,
        tiers_before=before,
        tiers_after=after,
        watermark=await client.detect_watermark(path),
    )


async def _words(text: str) -> AsyncIterator[str]:
    for word in text.split(" "):
        yield word + " "
        await asyncio.sleep(WORD_SECONDS)


def _write_wav(path: Path, samples: bytes) -> None:
    path.write_bytes(wav_header(SAMPLE_RATE_HERTZ, len(samples)) + samples)


def _check_at_home(both: Both) -> None:
    away = [m.module for m in both.residency().modules if m.module not in VOICE_AND_DETECTION and m.tier != m.home]
    if away:
        raise DemoFailedError(f"away before anything was asked: {', '.join(sorted(away))}")


def _tiers(both: Both) -> str:
    modules = sorted(both.residency().modules, key=lambda m: m.tier)
    groups = itertools.groupby(modules, key=lambda m: m.tier)
    return "\n".join(f"{TIER_NAMES[tier]}: {', '.join(m.module for m in group)}" for tier, group in groups)


def _tighten_until_modules_leave(both: Both) -> list[str]:
    """Raise `low` and `high` above what is free, so that the daemon must give memory back."""
    home = {m.module for m in both.residency().modules if m.tier == m.home}
    policy = policy_pb2.Policy(
        low=policy_pb2.Mark(percent=99.98),
        high=policy_pb2.Mark(percent=99.99),
        grace=Duration(nanos=200_000_000),
        minimum_residence=Duration(seconds=1),
    )
    mask = FieldMask(paths=["low", "high", "grace", "minimum_residence"])
    with both.policy_channel() as channel:
        request = policy_pb2.UpdatePolicyRequest(policy=policy, update_mask=mask, requested_by="demo")
        both.policy(channel).UpdatePolicy(request, timeout=10.0)
    for report in _reports(both):
        if left := home & {m.module for m in report.modules if m.tier != m.home}:
            return sorted(left)
    raise DemoFailedError(f"no module left within {LEAVE_SECONDS:g} s of the threshold's change")


def _reports(both: Both) -> Iterator[residency_pb2.ResidencyReport]:
    deadline = time.monotonic() + LEAVE_SECONDS
    settled = 0
    while time.monotonic() < deadline:
        report = both.residency()
        settled = settled + 1 if not report.pending_moves and report.applied_version else 0
        if settled > 10:  # noqa: PLR2004  # A second in which nothing is left to move.
            yield report
        time.sleep(0.1)


def _print_table(spoken: list[Spoken]) -> None:
    table = Table(title="greenroom demo", title_justify="left")
    table.add_column("")
    for one in spoken:
        table.add_column(one.path.name)
    rows = {
        "first audio": [f"{one.result.first_audio_seconds * 1e3:.0f} ms" for one in spoken],
        "real-time factor": [f"{one.result.real_time_factor:.3f}" for one in spoken],
        "audio": [f"{one.result.samples / SAMPLE_RATE_HERTZ:.1f} s" for one in spoken],
        "modules before": [one.tiers_before for one in spoken],
        "modules after": [one.tiers_after for one in spoken],
        "watermark score": [_score(one.watermark) for one in spoken],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells, end_section=True)
    console.print(table)


def _score(watermark: Watermark) -> str:
    return "none" if watermark.score is None else f"{watermark.score:.3f}"


def _check(spoken: list[Spoken]) -> None:
    for one in spoken:
        if one.watermark.verdict is not Verdict.PRESENT:
            raise DemoFailedError(f"{one.path} carries no watermark ({one.watermark.verdict.value})")
    if spoken[0].path.read_bytes() != spoken[1].path.read_bytes():
        raise DemoFailedError("the same text and seed gave other samples after modules had moved")


if __name__ == "__main__":
    sys.exit(main())
