"""What the service's own Python costs for each piece of work of the lanes: loops, leases, spans, events.

Renderers, lanes and residency are the real ones, over networks that compute nothing and a driver that maps host memory.
Nobody is ever far enough ahead to wait, and pieces of work of the lane that is behind take their time, without Python's
lock, as on a device: so all sessions sit in that lane, and what it does for each of them is seen. Each thread's CPU
time is divided by the pieces of work of its lane (the event loop's by pieces of audio). Gaps are between the end of one
piece and the beginning of the next; a lease is longer than its work by what is told for it.

`--profile` tells in which files a thread's time goes: only shares are worth something, since profilers take time, too.

    python -m benchmarks.lane_overhead --seats 16 64 200
    python -m benchmarks.lane_overhead --seats 64 --behind sound --profile sound
    python -m benchmarks.lane_overhead --seats 48 --behind both        # in real time, as a service does it
"""

import argparse
import asyncio
import cProfile
import logging
import pstats
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import structlog
import torch
import uvloop

from benchmarks.idle_speech import Busy, IdleSpeech, makers
from tests.fakes.arena_residency import arena_residency, arena_weights
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tts_service.engine import Engine
from tts_service.engine_process.channel import FRAME_MESSAGES
from tts_service.engine_process.frames import framed
from tts_service.engine_process.host_sessions import HostSessions
from tts_service.engine_process.host_words import HostWords
from tts_service.engine_process.messages import Rendered, engine_words
from tts_service.loops import Pace
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.process_settings import SWITCH_SECONDS
from tts_service.scheduling.figures import H100_ENGLISH, H100_TURBO
from tts_service.spans import Span, SpanLog
from tts_service.speech.chatterbox_speech import model_settings
from tts_service.speech.rendering import AudioMade, NextWelcome, RenderSegment, SegmentMade
from tts_service.speech.session_config import Aggregation, Pacing, SessionConfig
from tts_service.speech.speech_model import Lane
from tts_service.types import AudioFormat, Segment
from tts_service.workers import Workers

WARM_SECONDS: Final = 1.0
BEHIND: Final = {
    "sound": Busy(sound_seconds=0.0037),
    "tokens": Busy(token_seconds=0.009),
    "both": Busy(token_seconds=0.009, sound_seconds=0.0037),
}
"""What pieces of work take on an H100."""
TURBO_SEATS: Final = 128
"""From so many on it is Turbo: no other model speaks to so many."""
FILES_SHOWN: Final = 16
EVENT_LOOP: Final = "event loop"
_TEXT: Final = "It is a sentence as long as most are that somebody says aloud."
_SEGMENT: Final = Segment(text=_TEXT, text_start=0, text_end=len(_TEXT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one thread took while it did so many pieces of work; gaps are between two of them."""

    name: str
    pieces: int
    cpu_seconds: float
    wall_seconds: float
    gap_seconds: float = 0.0
    lease_seconds: float = 0.0
    """By how much the span of a lease is longer than that of its work."""


class Crowd:
    """Sessions that always have something to say, their engine, and what codes its answers."""

    def __init__(self, seats: int, busy: Busy, *, is_paced: bool) -> None:
        turbo = seats >= TURBO_SEATS
        speech = IdleSpeech(ChatterboxModel.TURBO if turbo else ChatterboxModel.ENGLISH, busy)
        self._config = _config(speech, is_paced=is_paced)
        weights = arena_weights(FakeCudaDriver(), asynchronous=True)
        self.residency = arena_residency(weights, clock=time.monotonic, makers=makers(lambda: torch.nn.Linear(4, 4)))
        self.workers = Workers({lane: ThreadPoolExecutor(1, thread_name_prefix=lane.value) for lane in Lane})
        self.spans = SpanLog(time.monotonic, most=2_000_000)
        self.words = HostWords(self._say, longest_step=lambda: self.engine.under_way.longest_seconds)
        self.engine = Engine(
            self.residency,
            self.workers,
            models={self._config.model: speech},
            restore_timeout_seconds=20.0,
            spans=self.spans,
            on_step=self.words.stepped,
            on_run=self.words.ran,
            pace=Pace(figures=H100_TURBO if turbo else H100_ENGLISH),
        )
        self.audio_pieces = 0
        self._sessions = HostSessions(self.engine, self._heard)
        self._ordered = dict.fromkeys(range(seats), 0)
        self._said: list[Any] = []
        self._vocabulary = engine_words()
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """Have everybody speak."""
        for session in self._ordered:
            self._order(session)

    async def end(self) -> None:
        """End everybody, and all threads."""
        self._ordered = {}
        await self._sessions.close()
        await asyncio.to_thread(self.workers.close)
        await asyncio.to_thread(self.residency.close)

    def _order(self, session: int) -> None:
        index = self._ordered.get(session)
        if index is not None:
            self._ordered[session] = index + 1
            order = RenderSegment(utterance_id="u", config=self._config, segment=_SEGMENT, index=index)
            self._sessions.submit(session, order)

    def _heard(self, said: Rendered) -> None:
        self._say(said)
        match said.event:
            case AudioMade():
                self.audio_pieces += 1
            case NextWelcome():
                self._order(said.session)
            case SegmentMade():
                self._made(said.session)
            case _:
                pass

    def _made(self, session: int) -> None:
        """Order the next segment, unless it was welcome before."""
        renderer = self._sessions._renderers.get(session)  # noqa: SLF001  # Nobody else knows what it has to do.
        if renderer is not None and not (renderer._orders or renderer._ahead):  # noqa: SLF001  # It tells nobody else.
            self._order(session)

    def _say(self, message: Any) -> None:
        """Code it at the end of this turn of the loop, with all else, as the channel to the front end does."""
        if not self._said:
            self._loop.call_soon(self._flush)
        self._said.append(message)

    def _flush(self) -> None:
        said, self._said = self._said, []
        for at in range(0, len(said), FRAME_MESSAGES):
            framed(self._vocabulary.written(said[at : at + FRAME_MESSAGES]))

    def __repr__(self) -> str:
        return f"<Crowd {len(self._ordered)} | {self.audio_pieces} pieces of audio>"


def _config(speech: IdleSpeech, *, is_paced: bool) -> SessionConfig:
    """Return a session that is never far enough ahead to wait, unless it is paced."""
    return SessionConfig(
        model=speech.model.value,
        voice="voice",
        language="en",
        audio_format=AudioFormat(),
        seed=1,
        speaking_rate=1.0,
        text_aggregation=Aggregation.SERVER,
        max_buffer_delay=3.0,
        pacing=Pacing.REALTIME,
        max_audio_ahead=4.0 if is_paced else 1e9,
        settings=model_settings(speech.model),
    )


async def measured(seats: int, seconds: float, busy: Busy, profiles: Mapping[str, cProfile.Profile]) -> list[Measured]:
    """Have so many sessions speak for so long, and return what each thread took."""
    crowd = Crowd(seats, busy, is_paced=busy == BEHIND["both"])
    await asyncio.to_thread(crowd.residency.start)
    pulse = asyncio.create_task(crowd.words.pulse())
    try:
        crowd.begin()
        await asyncio.sleep(WARM_SECONDS)
        for name, profile in profiles.items():
            await _in_thread(crowd, name, profile.enable)
        before, audio_before, began = await _cpu_seconds(crowd), crowd.audio_pieces, time.monotonic()
        await asyncio.sleep(seconds)
        after, audio, ended = await _cpu_seconds(crowd), crowd.audio_pieces - audio_before, time.monotonic()
        for name, profile in profiles.items():
            await _in_thread(crowd, name, profile.disable)
        spans = [each for each in crowd.spans.spans if began <= each.begin_seconds and each.end_seconds <= ended]
    finally:
        pulse.cancel()
        with suppress(asyncio.CancelledError):
            await pulse
        await crowd.end()
    lanes = [_lane(lane, spans, after[lane.value] - before[lane.value], ended - began) for lane in Lane]
    cpu_seconds = after[EVENT_LOOP] - before[EVENT_LOOP]
    return [*lanes, Measured(name=EVENT_LOOP, pieces=audio, cpu_seconds=cpu_seconds, wall_seconds=ended - began)]


async def _cpu_seconds(crowd: Crowd) -> dict[str, float]:
    return {
        name: await _in_thread(crowd, name, time.thread_time) for name in (*(each.value for each in Lane), EVENT_LOOP)
    }


async def _in_thread(crowd: Crowd, name: str, work: Any) -> Any:
    if name == EVENT_LOOP:
        return work()
    return await asyncio.wrap_future(crowd.workers.submit(Lane(name), work))


def _lane(lane: Lane, spans: Iterable[Span], cpu_seconds: float, wall_seconds: float) -> Measured:
    """Return a lane's figures: its pieces are what there was a lease for."""
    own = sorted((each for each in spans if each.on == lane.value), key=lambda each: each.begin_seconds)
    leases = [each for each in own if each.name.startswith("lease for ")]
    works = [each for each in own if not each.name.startswith("lease for ")]
    gaps = [after.begin_seconds - each.end_seconds for each, after in pairwise(works)]
    longer = sum(_seconds(each) for each in leases) - sum(_seconds(each) for each in works)
    return Measured(
        name=lane.value,
        pieces=len(leases),
        cpu_seconds=cpu_seconds,
        wall_seconds=wall_seconds,
        gap_seconds=median(gaps) if gaps else 0.0,
        lease_seconds=longer / max(1, len(leases)),
    )


def _seconds(span: Span) -> float:
    return span.end_seconds - span.begin_seconds


def line(seats: int, behind: str, found: Measured) -> str:
    """Return a table's line: microseconds for each piece."""
    pieces = max(1, found.pieces)
    figures = (
        found.pieces / found.wall_seconds,
        1e6 * found.cpu_seconds / pieces,
        1e6 * found.gap_seconds,
        1e6 * found.lease_seconds,
        100 * found.cpu_seconds / found.wall_seconds,
    )
    return f"{seats:5} | {behind:8} | {found.name:10}" + "".join(f" | {each:8.0f}" for each in figures)


def shares(profile: cProfile.Profile, pieces: int) -> Iterable[str]:
    """Return where a thread's time goes, by file, the dearest first."""
    seconds = Counter[str]()
    for (path, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]  # Documented; its types lack it.
        seconds[name if path == "~" else "/".join(Path(path).parts[-2:])] += own
    total = sum(seconds.values())
    for name, own in seconds.most_common(FILES_SHOWN):
        yield f"        {100 * own / total:5.1f} % | {1e6 * own / max(1, pieces):7.1f} us | {name}"


def run(seats: int, behind: str, arguments: argparse.Namespace) -> None:
    """Measure and print."""
    profiles = {name: cProfile.Profile() for name in arguments.profile or ()}
    found = uvloop.run(measured(seats, arguments.seconds, BEHIND[behind], profiles))
    for each in found:
        if behind in (each.name, "both") or each.name == EVENT_LOOP:
            print(line(seats, behind, each))
    for name, profile in profiles.items():
        print(f"    {name}")
        for share in shares(profile, next(each.pieces for each in found if each.name == name)):
            print(share)
        if arguments.out is not None:
            profile.dump_stats(arguments.out / f"{name.replace(' ', '_')}_{seats}.prof")


def main(words: Sequence[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seats", type=int, nargs="+", default=[16, 64, 200])
    parser.add_argument("--behind", nargs="+", choices=BEHIND, default=["sound", "tokens"])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--profile", nargs="*", choices=[*(each.value for each in Lane), EVENT_LOOP])
    parser.add_argument("--out", type=Path, help="a folder for the profiles")
    arguments = parser.parse_args(words)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.setswitchinterval(SWITCH_SECONDS)
    torch.set_num_threads(1)
    print("seats | behind   | thread     | pieces/s |   cpu us |   gap us | lease us |    cpu %")
    for seats in arguments.seats:
        for behind in arguments.behind:
            run(seats, behind, arguments)


if __name__ == "__main__":
    main()
