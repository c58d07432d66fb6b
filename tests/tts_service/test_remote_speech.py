"""Sessions and calls whose engine is another process: what is coded here, what is lost with an engine, what is late."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.fakes.session_driver import OFFER
from tts_service.engine_process.channel import Channel
from tts_service.engine_process.messages import (
    CallFailed,
    CallForgotten,
    FindWatermark,
    Ordered,
    Piece,
    Rendered,
    SessionEnded,
    WatermarkLooked,
    engine_words,
    front_words,
)
from tts_service.engine_process.remote_calls import PIECE_BYTES
from tts_service.engine_process.remote_speech import RemoteSpeech
from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.speech.encoded_audio import AudioEncoder, CarriedAudio
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    DiscardAudio,
    FinishAudio,
    RenderEvent,
    RenderFailed,
    RenderSegment,
    RenderStarted,
)
from tts_service.speech.session_config import ConfigRequest, Defaults, SessionConfig, resolve
from tts_service.speech.watermark import Detection, Verdict
from tts_service.types import AudioFormat, EncodedPiece, Encoding, Segment

OPUS = AudioFormat(encoding=Encoding.OGG_OPUS, sample_rate_hertz=48_000)
NOTHING = EncodedPiece(data=b"", sample_count=0)


class Deaf:
    """Hears what an engine tells of itself, and does nothing about it."""

    def __getattr__(self, name: str) -> Any:
        """Return what takes anything."""
        return lambda *_arguments: None


class Wire:
    """A front end's side with a session on it, and the other end, on which a test plays the engine."""

    def __init__(self) -> None:
        self.speech = RemoteSpeech(Deaf(), retry_seconds=lambda: 2.5, loop=asyncio.get_running_loop())
        self.told: list[RenderEvent] = []
        self.renderer = self.speech.renderer(self.told.append)
        self.engine: Channel
        self.front: Channel

    async def attach(self) -> None:
        """Have an engine there."""
        ours, theirs = socket.socketpair()
        self.front = await Channel.over(ours, says=front_words(), hears=engine_words())
        self.engine = await Channel.over(theirs, says=engine_words(), hears=front_words())
        self.speech.attach(self.front)

    def attend(self, coders: Executor) -> None:
        """Have a session whose audio is coded in threads, with the same engine."""
        self.speech = RemoteSpeech(Deaf(), retry_seconds=lambda: 2.5, loop=asyncio.get_running_loop(), coders=coders)
        self.speech.attach(self.front)
        self.renderer = self.speech.renderer(self.told.append)

    async def until_told(self, count: int) -> None:
        """Wait until the session was told so much."""
        for _ in range(10_000):
            if len(self.told) >= count:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"only {len(self.told)} of {count} events were told")

    def say(self, *events: RenderEvent) -> None:
        """Have the engine tell the session this."""
        self.speech.take([Rendered(session=1, event=event) for event in events])


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """Give one with an engine."""
    made = Wire()
    await made.attach()
    yield made
    await made.front.close()
    await made.engine.close()


def config_of(audio_format: AudioFormat) -> SessionConfig:
    """Return a configuration."""
    return resolve(ConfigRequest(audio_format=audio_format), OFFER, Defaults(seed=1))


def order(audio_format: AudioFormat = OPUS, utterance_id: str = "u") -> RenderSegment:
    """Return an order for a segment."""
    segment = Segment(text="Hello.", text_start=0, text_end=6)
    return RenderSegment(utterance_id=utterance_id, config=config_of(audio_format), segment=segment, index=0)


@pytest.mark.parametrize("encoding", [each for each in Encoding if each is not Encoding.FLAC])
async def test_carried_audio_is_coded_as_if_it_had_never_travelled(wire: Wire, encoding: Encoding) -> None:
    """Piece by piece the same bytes and counts as an encoder at the engine's side would have made."""
    rate_hertz = 48_000 if encoding is Encoding.OGG_OPUS else 16_000
    audio_format = AudioFormat(encoding=encoding, sample_rate_hertz=rate_hertz)
    waves = [np.random.default_rng(each).uniform(-0.5, 0.5, 3_840).astype(np.float32) for each in range(4)]
    wire.renderer.submit(order(audio_format))
    carrier, encoder = CarriedAudio(), AudioEncoder(audio_format)
    wire.say(*(AudioMade(utterance_id="u", piece=carrier.write(wave)) for wave in waves))
    wire.say(AudioFinished(utterance_id="u", piece=carrier.finish(), compute_seconds=0.5))
    expected = [encoder.write(wave) for wave in waves]
    *made, finished = wire.told

    assert expected == [each.piece for each in made if isinstance(each, AudioMade)]
    assert AudioFinished(utterance_id="u", piece=encoder.finish(), compute_seconds=0.5) == finished


async def test_audio_coded_in_threads_is_told_in_order_with_what_came_between(wire: Wire) -> None:
    """The bytes are those of the event loop's coding, and no event overtakes another."""
    waves = [np.random.default_rng(each).uniform(-0.5, 0.5, 960).astype(np.float32) for each in range(12)]
    carrier, encoder = CarriedAudio(), AudioEncoder(OPUS)
    events: list[RenderEvent] = [AudioMade(utterance_id="u", piece=carrier.write(wave)) for wave in waves]
    events.insert(5, RenderStarted(utterance_id="u"))
    with ThreadPoolExecutor(2) as coders:
        wire.attend(coders)
        wire.renderer.submit(order())
        wire.say(*events, AudioFinished(utterance_id="u", piece=carrier.finish(), compute_seconds=0.5))
        at_once = list(wire.told)
        await wire.until_told(14)
    expected: list[RenderEvent] = [AudioMade(utterance_id="u", piece=encoder.write(wave)) for wave in waves]
    expected.insert(5, RenderStarted(utterance_id="u"))

    assert [] == at_once
    assert [*expected, AudioFinished(utterance_id="u", piece=encoder.finish(), compute_seconds=0.5)] == wire.told


async def test_short_plain_samples_are_coded_at_once(wire: Wire) -> None:
    """A thread would take longer to hear of them than they take; long ones go there."""
    plain = AudioFormat(encoding=Encoding.PCM_S16LE, sample_rate_hertz=24_000)
    short, long = (CarriedAudio().write(np.zeros(count, np.float32)) for count in (960, 72_000))
    with ThreadPoolExecutor(1) as coders:
        wire.attend(coders)
        wire.renderer.submit(order(plain))
        wire.say(*(AudioMade(utterance_id="u", piece=piece) for piece in (short, long, short)))
        at_once = len(wire.told)
        await wire.until_told(3)

    assert 1 == at_once
    assert [960, 72_000, 960] == [each.piece.sample_count for each in wire.told if isinstance(each, AudioMade)]


async def test_discard_while_audio_is_coded_drops_it_and_what_waits(wire: Wire) -> None:
    """What a thread makes then is nobody's, also where the same utterance is ordered again."""
    held = threading.Event()
    with ThreadPoolExecutor(1) as coders:
        coders.submit(held.wait)
        wire.attend(coders)
        wire.renderer.submit(order())
        wire.say(*(AudioMade(utterance_id="u", piece=CarriedAudio().write(np.zeros(960, np.float32))) for _ in "ab"))
        wire.renderer.submit(DiscardAudio(utterance_id="u"))
        wire.renderer.submit(order())
        wire.say(RenderStarted(utterance_id="u"))
        held.set()
    await asyncio.sleep(0.01)

    assert [RenderStarted(utterance_id="u")] == wire.told


async def test_audio_that_cannot_be_coded_in_a_thread_fails_its_utterance_once(wire: Wire) -> None:
    """The client hears ENGINE_FAULT, and the engine that nothing more of it is wanted."""
    with ThreadPoolExecutor(1) as coders:
        wire.attend(coders)
        wire.renderer.submit(order())
        torn = EncodedPiece(data=bytes(5), sample_count=1)
        wire.say(*(AudioMade(utterance_id="u", piece=torn) for _ in range(3)))
        await wire.until_told(1)
    await asyncio.sleep(0.01)
    (failed,) = wire.told

    assert isinstance(failed, RenderFailed)
    assert Reason.ENGINE_FAULT is failed.error.reason


async def test_samples_that_are_no_numbers_are_not_carried() -> None:
    """They are the engine's fault, and are refused where they were made."""
    with pytest.raises(ServiceError, match="not numbers"):
        CarriedAudio().write(np.array([0.0, np.nan], np.float32))


async def test_engine_that_goes_fails_what_is_under_way_once(wire: Wire) -> None:
    """Every utterance with orders and no end; what had ended, or was discarded, hears nothing more."""
    for each in ("done", "gone", "open"):
        wire.renderer.submit(order(utterance_id=each))
    wire.say(AudioFinished(utterance_id="done", piece=NOTHING, compute_seconds=0.0))
    wire.renderer.submit(DiscardAudio(utterance_id="gone"))
    wire.told.clear()
    wire.speech.detach()
    wire.speech.detach()
    (failed,) = wire.told

    assert isinstance(failed, RenderFailed)
    assert ("open", Reason.ENGINE_RESTARTING, 2.5) == (
        failed.utterance_id,
        failed.error.reason,
        failed.error.retry_after_seconds,
    )


async def test_order_without_an_engine_fails_in_the_next_turn(wire: Wire) -> None:
    """Never from within: whoever orders is in the middle of something. Several orders fail once."""
    wire.speech.detach()
    wire.renderer.submit(order())
    wire.renderer.submit(FinishAudio(utterance_id="u", config=config_of(OPUS), empty=False))
    at_once = list(wire.told)
    await asyncio.sleep(0)

    assert [] == at_once
    assert [Reason.ENGINE_RESTARTING] == [each.error.reason for each in wire.told if isinstance(each, RenderFailed)]


async def test_what_comes_too_late_is_dropped(wire: Wire) -> None:
    """After a discard nothing of the utterance is told, and nothing of a session that has ended."""
    wire.renderer.submit(order())
    wire.renderer.submit(DiscardAudio(utterance_id="u"))
    wire.say(RenderStarted(utterance_id="u"), AudioMade(utterance_id="u", piece=NOTHING))
    running = asyncio.create_task(wire.renderer.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    wire.say(RenderStarted(utterance_id="u"))
    heard: list[Any] = []
    while not heard or not isinstance(heard[-1], SessionEnded):
        heard += await wire.engine.heard() or ()

    assert [] == wire.told
    assert [Ordered, Ordered, SessionEnded] == [type(each) for each in heard]


async def test_upload_goes_in_pieces_and_its_answer_comes_back(wire: Wire) -> None:
    """Pieces first, then the question; an answer that nobody waits for is dropped."""
    data = bytes(PIECE_BYTES + 5)
    found = Detection(verdict=Verdict.PRESENT, score=0.9, seconds=1.0)
    looking = asyncio.create_task(wire.speech.calls.look(data, AudioFormat()))
    heard: list[Any] = []
    while not heard or not isinstance(heard[-1], FindWatermark):
        heard += await wire.engine.heard() or ()
    call = heard[-1].call
    wire.speech.take([WatermarkLooked(call=99, found=found), WatermarkLooked(call=call, found=found)])

    assert [PIECE_BYTES, 5] == [len(each.data) for each in heard[:-1] if isinstance(each, Piece)]
    assert found == await looking


async def test_call_that_fails_raises_what_it_failed_with(wire: Wire) -> None:
    """The caller's fault stays the caller's."""
    looking = asyncio.create_task(wire.speech.calls.look(b"x", AudioFormat()))
    await asyncio.sleep(0)
    wire.speech.take([CallFailed(call=1, error=CallerError(Reason.BAD_AUDIO, "is no audio"))])

    with pytest.raises(CallerError, match="is no audio"):
        await looking


async def test_call_under_way_ends_with_its_engine(wire: Wire) -> None:
    """It raises ENGINE_RESTARTING, and so does one that is asked while there is none."""
    looking = asyncio.create_task(wire.speech.calls.look(b"x", AudioFormat()))
    await asyncio.sleep(0)
    wire.speech.detach()
    for each in (looking, wire.speech.calls.look(b"x", AudioFormat())):
        with pytest.raises(ServiceError) as raised:
            await each
        assert Reason.ENGINE_RESTARTING is raised.value.reason


async def test_call_that_nobody_waits_for_is_forgotten_over_there(wire: Wire) -> None:
    """A client that goes away ends the work."""
    looking = asyncio.create_task(wire.speech.calls.look(b"x", AudioFormat()))
    await asyncio.sleep(0.01)
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    heard: list[Any] = []
    while not heard or not isinstance(heard[-1], CallForgotten):
        heard += await wire.engine.heard() or ()

    assert CallForgotten(call=1) == heard[-1]
