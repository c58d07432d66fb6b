"""The asyncio SDK when the service refuses, breaks, falls silent or is not there."""

import asyncio
import itertools
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from google.rpc.status_pb2 import Status

from greenroom_client import aio
from greenroom_client.config import Encoding
from greenroom_client.conversation import ReadLimits
from greenroom_client.errors import (
    AtCapacityError,
    AudioOverrunError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    ProtocolError,
    ServiceError,
    SessionClosedError,
    UnavailableError,
    UnreachableError,
)
from greenroom_client.events import SessionEvent
from greenroom_client.options import ClientOptions
from greenroom_client.retries import RetryPolicy
from tests.fakes.fake_speech_script import Script, at_capacity, bad_config, status, unavailable
from tests.fakes.fake_speech_service import serving
from tests.fakes.listener import hear

QUICK = ClientOptions(
    connect_timeout_seconds=0.5,
    answer_timeout_seconds=1.0,
    first_audio_timeout_seconds=1.0,
    retry=RetryPolicy(max_attempts=3, first_delay_seconds=0.01, max_delay_seconds=0.5),
)


async def test_refused_configuration_is_raised_with_its_field() -> None:
    """A malformed value is the caller's fault, named by its path; it is not tried again."""
    async with serving() as fake, aio.Client(fake.address) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.open_session(sample_rate_hertz=1)

        assert ["audio_format.sample_rate_hertz"] == [violation.field for violation in caught.value.violations]
        assert "BAD_CONFIG" == caught.value.reason
        assert 1 == fake.service.rpcs_begun


async def test_unknown_voice_is_not_found() -> None:
    """The same reason comes on every path that names a voice."""
    async with serving() as fake, aio.Client(fake.address) as client:
        for attempt in (
            client.voice("x"),
            client.open_session(voice="x"),
            client.synthesize("Hi.", voice="x").collect(),
        ):
            with pytest.raises(NotFoundError) as caught:
                await attempt

            assert "VOICE_NOT_FOUND" == caught.value.reason


@pytest.mark.parametrize("answer", [unavailable(retry_after_seconds=0.01), at_capacity(retry_after_seconds=0.01)])
@pytest.mark.parametrize("kind", ["unary", "session", "whole text", "upload"])
async def test_call_that_is_invited_to_come_again_does(kind: str, answer: Status) -> None:
    """Where the service says when, the call is tried again, and the caller never hears of it."""
    async with serving(Script(refusals=deque([answer, answer]))) as fake, aio.Client(fake.address, QUICK) as client:
        match kind:
            case "unary":
                await client.info()
            case "session":
                await (await client.open_session()).close()
            case "whole text":
                await client.synthesize("Hi.").collect()
            case _:
                await client.detect_watermark(b"RIFF")

        assert 3 == fake.service.rpcs_begun


async def test_attempts_are_bounded() -> None:
    """The last answer is raised once the policy is used up."""
    refusals = deque(at_capacity(retry_after_seconds=0.01) for _ in range(9))
    async with serving(Script(refusals=refusals)) as fake, aio.Client(fake.address, QUICK) as client:
        with pytest.raises(AtCapacityError) as caught:
            await client.info()

        assert 0.01 == caught.value.retry_after_seconds
        assert 3 == fake.service.rpcs_begun


async def test_invitation_beyond_the_deadline_is_not_waited_for() -> None:
    """If the time to come again lies behind the call's own deadline, the answer is raised at once."""
    options = replace(QUICK, answer_timeout_seconds=0.2)
    script = Script(refusals=deque([at_capacity(retry_after_seconds=0.4)]))
    async with serving(script) as fake, aio.Client(fake.address, options) as client:
        with pytest.raises(AtCapacityError):
            await client.info()

        assert 1 == fake.service.rpcs_begun


@pytest.mark.parametrize("answer", [bad_config("text", "no"), status(grpc.StatusCode.INTERNAL, "ENGINE_FAULT")])
async def test_call_that_is_not_invited_is_not_repeated(answer: Status) -> None:
    """Faults and wrong requests are raised at once."""
    async with serving(Script(refusals=deque([answer]))) as fake, aio.Client(fake.address, QUICK) as client:
        with pytest.raises(ServiceError):
            await client.info()

        assert 1 == fake.service.rpcs_begun


async def test_upload_from_an_iterator_is_not_repeated() -> None:
    """What cannot be read twice is sent once."""
    script = Script(refusals=deque([unavailable(retry_after_seconds=0.01)]))
    async with serving(script) as fake, aio.Client(fake.address, QUICK) as client:
        with pytest.raises(UnavailableError):
            await client.detect_watermark(iter([b"RIFF"]), encoding=Encoding.WAV)

        assert 1 == fake.service.rpcs_begun


async def test_speech_that_has_begun_is_never_repeated() -> None:
    """UNAVAILABLE in the middle of the audio is raised; nobody hears the beginning twice."""
    script = Script(end_session_after_chunks=2, end_session_with=unavailable(retry_after_seconds=0.01))
    async with serving(script) as fake, aio.Client(fake.address, QUICK) as client:
        heard: list[int] = []
        with pytest.raises(UnavailableError):
            await hear(client.synthesize("Hello there, all of you."), heard)

        assert [0, 1] == heard
        assert 1 == fake.service.rpcs_begun


async def test_session_that_is_lost_is_raised_by_all_that_wait() -> None:
    """The status that ended the session reaches each utterance, after the audio that came."""
    script = Script(end_session_after_chunks=2, end_session_with=unavailable(retry_after_seconds=1.0))
    async with serving(script) as fake, aio.Client(fake.address) as client, client.session() as session:
        first, second = session.utterance(), session.utterance()
        await first.write_all("Hello there.")
        await second.write_all("Never heard.")
        heard: list[int] = []
        with pytest.raises(UnavailableError):
            await hear(first, heard)
        for attempt in (second.done(), second.cancel(), session.update(seed=1)):
            with pytest.raises(UnavailableError):
                await attempt

    assert [0, 1] == heard


async def test_session_that_the_service_leaves_in_good_order_is_over_all_the_same() -> None:
    """OK without an end of the utterance is no success."""
    async with (
        serving(Script(end_session_after_chunks=1)) as fake,
        aio.Client(fake.address) as client,
        client.session() as session,
    ):
        with pytest.raises(SessionClosedError, match="the service ended the session"):
            await hear(session.speak("Hello there."))


@pytest.mark.parametrize("chunks", [1, 3, 6, 9])
async def test_status_is_the_services_own_even_while_something_is_written(chunks: int) -> None:
    """A session that ends under its writers tells the service's reason, after all audio that was sent.

    grpc.aio itself reports an internal error for a write that meets the end, and gives up what was not read.
    """
    script = Script(end_session_after_chunks=chunks, end_session_with=unavailable(retry_after_seconds=1.0))
    async with serving(script) as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write("Hello there, all of you who listen.")
        await utterance.flush()

        async def report_on() -> None:
            for played_samples in itertools.count():
                await utterance.report_playback(played_samples)
                await asyncio.sleep(0)

        reporting = asyncio.create_task(report_on())
        heard: list[int] = []
        with pytest.raises(UnavailableError) as caught:
            await hear(utterance, heard)
        with pytest.raises(UnavailableError):
            await reporting

    assert "DRAINING" == caught.value.reason
    assert list(range(chunks)) == heard


async def test_audio_with_a_gap_is_never_played_on() -> None:
    """A lost chunk fails the utterance, which is cancelled; the session lives."""
    async with serving(Script(lose_chunk=1)) as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write("Hello there. ")
        with pytest.raises(ProtocolError, match="expected chunk 1"):
            await hear(utterance)
        await session.update(seed=1)

        assert [] == list(fake.session.open)


async def test_session_that_is_never_opened_has_a_deadline() -> None:
    """A service that takes the call and says nothing is given up."""
    async with serving(Script(silent=frozenset({"session"}))) as fake, aio.Client(fake.address, QUICK) as client:
        with pytest.raises(NoAnswerError, match="did not open the session"):
            await client.open_session()
        async with asyncio.timeout(5):
            await fake.wait_until_left()

        assert 1 == fake.service.rpcs_begun


@pytest.mark.parametrize("kind", ["unary", "whole text"])
async def test_call_that_is_never_answered_has_a_deadline(kind: str) -> None:
    """Unary calls and whole texts are given up as well."""
    script = Script(silent=frozenset({"GetServiceInfo", "synthesize"}))
    async with serving(script) as fake, aio.Client(fake.address, QUICK) as client:
        with pytest.raises(NoAnswerError):
            await (client.info() if kind == "unary" else client.synthesize("Hi.").collect())


async def test_cancel_that_is_never_acknowledged_has_a_deadline() -> None:
    """Barge-in does not hang on a service that hangs."""
    async with (
        serving(Script(silent=frozenset({"cancel"}))) as fake,
        aio.Client(fake.address) as client,
        client.session() as session,
    ):
        utterance = session.utterance()
        await utterance.write("Hello there. And")
        with pytest.raises(NoAnswerError, match="not acknowledged"):
            await utterance.cancel(timeout_seconds=0.05)


async def test_service_that_falls_silent_is_taken_as_dead() -> None:
    """With an utterance open the service owes a sign of life; without one, whoever waits is told."""
    options = ClientOptions(read_limits=ReadLimits(stall_seconds=0.1))
    async with (
        serving(Script(silent=frozenset({"text"}))) as fake,
        aio.Client(fake.address, options) as client,
        client.session() as session,
    ):
        with pytest.raises(NoAnswerError, match=r"said nothing for 0\.1 s"):
            await hear(session.speak("Hello there."))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/nowhere/at/all.sock"])
async def test_service_that_is_not_there_is_unreachable(address: str) -> None:
    """A refused connection is told soon, and as what it is."""
    async with aio.Client(address, QUICK) as client:
        for attempt in (client.info(), client.open_session(), client.synthesize("Hi.").collect()):
            with pytest.raises(UnreachableError):
                await attempt


async def test_service_that_never_shakes_hands_is_unreachable() -> None:
    """A port that takes connections and never speaks HTTP/2 runs into the deadline for connecting."""
    options = ClientOptions(connect_timeout_seconds=0.2, answer_timeout_seconds=30.0, retry=RetryPolicy(max_attempts=1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with aio.Client(f"127.0.0.1:{silent.getsockname()[1]}", options) as client:
            with pytest.raises(UnreachableError):
                await client.info()


async def test_client_outside_its_block_says_so() -> None:
    """Nothing is dialled behind the caller's back."""
    with pytest.raises(SessionClosedError, match="async with"):
        await aio.Client().info()


async def test_callback_that_raises_ends_its_session_only() -> None:
    """A broken callback is not swallowed, and other sessions of the client go on."""

    def broken(event: SessionEvent) -> None:
        raise LookupError(type(event).__name__)

    async with (
        serving() as fake,
        aio.Client(fake.address) as client,
        client.session() as healthy,
        client.session(on_event=broken) as session,
    ):
        with pytest.raises(SessionClosedError, match="LookupError") as caught:
            await hear(session.speak("Hello."))
        samples = await hear(healthy.speak("Fine."))

    assert isinstance(caught.value.__cause__, LookupError)
    assert 5 * 240 == samples


async def test_consumer_that_stops_reading_loses_only_its_own_audio() -> None:
    """Unread audio of one utterance is bounded: it is given up, and another one is heard whole."""
    limits = ReadLimits(read_ahead_bytes=10_000, max_buffered_bytes=100_000)
    options = ClientOptions(read_limits=limits)
    async with serving() as fake, aio.Client(fake.address, options) as client, client.session() as session:
        lazy = session.utterance()
        await lazy.write_all("So much to say and nobody to listen. " * 20)
        samples = await hear(session.speak("Heard whole."))
        with pytest.raises(AudioOverrunError):
            await hear(lazy)

    assert 12 * 240 == samples


async def test_slow_reader_of_one_utterance_loses_nothing() -> None:
    """With nobody else waiting, the wire itself holds the audio back."""
    options = ClientOptions(read_limits=ReadLimits(read_ahead_bytes=5_000, max_buffered_bytes=10_000))
    text = "A rather long text, read slowly." * 10
    async with serving() as fake, aio.Client(fake.address, options) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write_all(text)
        samples = 0
        async for chunk in utterance:
            samples += chunk.sample_count
            await asyncio.sleep(0.002)

    assert len(text) * 240 == samples


async def test_end_of_a_text_source_that_fails_is_its_own_error() -> None:
    """What the texts raise is raised where the audio is read, and the utterance is cancelled."""

    def texts() -> Iterator[str]:
        yield "It begins well. "
        raise OSError("model gone")

    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        with pytest.raises(OSError, match="model gone"):
            await hear(session.speak(texts()))
        await session.update(seed=1)

        assert [] == list(fake.session.open)


async def test_upload_is_refused_in_the_middle() -> None:
    """The service's reason is raised although bytes were still on their way."""
    async with serving(Script(detect_fails_after_bytes=100_000)) as fake, aio.Client(fake.address) as client:
        with pytest.raises(InvalidRequestError, match="too much audio"):
            await client.detect_watermark(b"RIFF" + bytes(4_000_000))


async def test_upload_whose_source_fails_raises_that() -> None:
    """What reading the source raises is raised as it is."""

    def pieces() -> Iterator[bytes]:
        yield b"RIFF"
        raise OSError("disk gone")

    async with serving() as fake, aio.Client(fake.address) as client:
        with pytest.raises(OSError, match="disk gone"):
            await client.detect_watermark(pieces(), encoding=Encoding.WAV)
