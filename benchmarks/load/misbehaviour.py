"""Clients that a service must bear: they read too slowly, vanish, come in floods, ask for an hour of speech.

Each goes on until the run is over, on connections of its own. What they are answered is counted by reason; being
refused is fine, a session that hangs or a stream with a hole is a finding.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from benchmarks.load.lines import own_line, reason_of
from benchmarks.load.manner import Manner
from benchmarks.load.run_end import RunEnd
from benchmarks.load.sentences import SENTENCES, Texts, long_text
from benchmarks.load.served import make_voice
from benchmarks.load.tally import Tally
from benchmarks.speaking import Request, end, text
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom_client.statuses import from_rpc_error, from_status

HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HOUR_SECONDS: Final = 3_600.0
TINY_TEXTS: Final = 200
"""In one session of a flood."""

UTTERANCE_TEXTS: Final = 4
"""Of a flood: then the utterance ends."""

HALF: Final = 0.5
SPEAK_SHARE: Final = 0.9
"""Of those who vanish; the others do it before a word."""

CHURN_AT_ONCE: Final = 8
ANSWER_SECONDS: Final = 30.0
SESSIONS_FROM: Final = 900_000
"""Numbers of sessions that misbehave, which nobody else has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What somebody who misbehaves knows of a run."""

    address: str
    manner: Manner
    tally: Tally
    run_end: RunEnd
    creates_voices: bool
    source: random.Random

    def first_message(self, *, is_paced: bool = False) -> Any:
        """Return the configuration of one more session."""
        return self.manner.first_message(SESSIONS_FROM + self.source.randrange(SESSIONS_FROM // 10), is_paced=is_paced)

    def count(self, what: str, number: int = 1) -> None:
        """Count something that was done."""
        self.tally.counts[what] += number

    async def attempt(self, name: str, work: Awaitable[None]) -> None:
        """Do something that the service may refuse; count with what words."""
        try:
            await work
        except grpc.RpcError as failure:
            error = from_rpc_error(failure)
            self.tally.refusals[f"{name}: {reason_of(error)}"] += 1
            await self.run_end.sleep(0.2)
        except asyncio.InvalidStateError:
            self.tally.refusals[f"{name}: closed while writing"] += 1
        except TimeoutError:
            self.tally.finding(f"{name}: no answer within {ANSWER_SECONDS:g} s")


async def slow_readers(scene: Scene) -> None:
    """Ask for much, read a message now and then, and leave."""

    async def read_slowly() -> None:
        async with own_line(scene.address) as stub:
            call = stub.StreamingSynthesize()
            await call.write(scene.first_message())
            await call.write(text("slow", Texts(scene.source, words=120.0).utterance()))
            for _ in range(10):
                if await call.read() is grpc.aio.EOF or not await scene.run_end.sleep(0.4):
                    break
            call.cancel()
        scene.count("slow readers")

    while not scene.run_end.is_over:
        await scene.attempt("slow reader", read_slowly())


async def vanishing(scene: Scene) -> None:
    """Begin to speak and be gone, connection and all, at any moment."""

    async def vanish() -> None:
        async with own_line(scene.address) as stub:
            call = stub.StreamingSynthesize()
            await call.write(scene.first_message(is_paced=scene.source.random() < HALF))
            if scene.source.random() < SPEAK_SHARE:
                await call.write(text("gone", Texts(scene.source, words=40.0).utterance()))
            await scene.run_end.sleep(scene.source.uniform(0.0, 1.0))
        scene.count("vanished clients")

    while not scene.run_end.is_over:
        await scene.attempt("vanishing client", vanish())


async def churn(scene: Scene) -> None:
    """Open connections and drop them: silent ones, ones that begin to speak HTTP/2, and ones that speak rubbish."""
    host, _, port = scene.address.rpartition(":")

    async def one() -> None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            kind = scene.source.randrange(3)
            if kind:
                writer.write(HTTP2_PREFACE if kind == 1 else scene.source.randbytes(64))
            await asyncio.sleep(scene.source.choice((0.0, 0.0, 0.02)))
            writer.transport.abort() if scene.source.random() < HALF else writer.close()
            scene.count("connections dropped")

    while not scene.run_end.is_over:
        await asyncio.gather(*(one() for _ in range(CHURN_AT_ONCE)))
        await scene.run_end.sleep(0.05)


async def tiny_texts(scene: Scene) -> None:
    """Flood a session with utterances of a word and texts of a letter, without waiting for any answer."""

    async def flood() -> None:
        async with own_line(scene.address) as stub:
            call = stub.StreamingSynthesize()
            await call.write(scene.first_message())
            reading = asyncio.ensure_future(_read_to_end(scene, call))
            try:
                for number in range(TINY_TEXTS):
                    name = f"tiny{number // 4}"
                    await call.write(text(name, scene.source.choice(("Yes. ", "a", "No. ", " ", "7", "Oh! "))))
                    if (number + 1) % UTTERANCE_TEXTS == 0:
                        await call.write(end(name))
                        await asyncio.sleep(0.01)
                await call.done_writing()
            finally:
                await reading
        scene.count("tiny texts", TINY_TEXTS)

    while not scene.run_end.is_over:
        await scene.attempt("flood", flood())
        await scene.run_end.sleep(0.5)


async def _read_to_end(scene: Scene, call: Any) -> None:
    """Read until the stream or the run ends. Raises TimeoutError if nothing comes for too long."""
    while not scene.run_end.is_over:
        async with asyncio.timeout(ANSWER_SECONDS):
            response = await call.read()
        if response is grpc.aio.EOF:
            return
        if response.WhichOneof("response") == "utterance_error":
            scene.tally.refusals[f"flood: {from_status(response.utterance_error.error).reason}"] += 1


async def hour(scene: Scene) -> None:
    """Ask for an hour of speech, unpaced, and listen to it as far as the run goes."""

    async def listen() -> None:
        async with own_line(scene.address) as stub:
            call = stub.StreamingSynthesize()
            await call.write(scene.first_message())
            await call.write(text("hour", long_text(scene.source, seconds=HOUR_SECONDS)))
            await call.write(end("hour"))
            samples = 0
            while not scene.run_end.is_over:
                response = await call.read()
                kind = None if response is grpc.aio.EOF else response.WhichOneof("response")
                if kind == "audio":
                    _check_offset(scene, response.audio, samples)
                    samples = response.audio.sample_offset + response.audio.sample_count
                elif kind == "utterance_done":
                    scene.count("hours read to the end")
                    scene.count("seconds of the longest text", samples // 24_000)
                    return
                elif kind == "utterance_error":
                    scene.tally.refusals[f"hour: {from_status(response.utterance_error.error).reason}"] += 1
                    return
            scene.count("seconds of a long text, cut off", samples // 24_000)
            call.cancel()

    while not scene.run_end.is_over:
        await scene.attempt("hour", listen())


def _check_offset(scene: Scene, audio: Any, samples: int) -> None:
    if audio.sample_offset != samples:
        scene.tally.finding(f"hour: audio at sample {audio.sample_offset} came where {samples} was next")


async def uploads(scene: Scene) -> None:
    """Make voices and delete them; where a model makes none, ask all the same."""

    async def upload() -> None:
        async with own_line(scene.address) as stub:
            seconds = 6 + scene.source.randrange(6)
            voice = await make_voice(stub, scene.manner.model, seconds=seconds)
            if voice != scene.manner.voice:
                await stub.DeleteVoice(pb.DeleteVoiceRequest(voice=voice), timeout=ANSWER_SECONDS)
        scene.count("voices made and deleted")

    while not scene.run_end.is_over:
        await scene.attempt("upload", upload())
        await scene.run_end.sleep(2.0 if scene.creates_voices else 10.0)


async def nonsense(scene: Scene) -> None:
    """Say what the protocol does not allow: no configuration, two of them, words for an utterance that is over."""

    async def babble() -> None:
        async with own_line(scene.address) as stub:
            call = stub.StreamingSynthesize()
            said = [
                scene.first_message(),
                text("n", scene.source.choice(SENTENCES)),
                Request(flush=pb.Flush(utterance_id="n", flush_id="f")),
                Request(cancel=pb.CancelUtterance(utterance_id="never")),
                Request(playback=pb.PlaybackPosition(utterance_id="n", played_samples=1 << 40)),
                end("n"),
                text("n", "again"),
                Request(),
            ]
            scene.source.shuffle(said)
            for request in said:
                await call.write(request)
            await call.done_writing()
            await _read_to_end(scene, call)
        scene.count("nonsense sessions")

    while not scene.run_end.is_over:
        await scene.attempt("nonsense", babble())
        await scene.run_end.sleep(0.2)


MISBEHAVIOURS: Final[Mapping[str, Callable[[Scene], Awaitable[None]]]] = {
    "slow": slow_readers,
    "vanish": vanishing,
    "churn": churn,
    "tiny": tiny_texts,
    "hour": hour,
    "uploads": uploads,
    "nonsense": nonsense,
}
