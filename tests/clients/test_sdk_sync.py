"""The blocking SDK against a real server: it does what the asyncio one does, in threads."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenroom_client import sync
from greenroom_client.config import Encoding
from greenroom_client.conversation import ReadLimits
from greenroom_client.errors import (
    AudioOverrunError,
    InvalidRequestError,
    MessageRefused,
    NoAnswerError,
    NotFoundError,
    ProtocolError,
    SessionClosedError,
    UnavailableError,
    UnreachableError,
    UtteranceFailed,
    UtteranceInterrupted,
)
from greenroom_client.events import Draining, FinishReason, SessionEvent
from greenroom_client.options import ClientOptions
from greenroom_client.retries import RetryPolicy
from greenroom_client.values import Health, Verdict
from tests.fakes.fake_speech_script import Script, at_capacity, unavailable
from tests.fakes.fake_speech_service import FakeSpeech, serving
from tests.fakes.listener import listen

HELLO = "Hello there. How are you?"
HELLO_SAMPLES = len(HELLO) * 240
LONG = "A sentence of some length. " * 40
QUICK = ClientOptions(
    connect_timeout_seconds=0.5,
    answer_timeout_seconds=1.0,
    first_audio_timeout_seconds=0.5,
    retry=RetryPolicy(max_attempts=3, first_delay_seconds=0.01, max_delay_seconds=0.5),
)

Program = Callable[[sync.Client], None]


async def run(program: Program, script: Script | None = None, options: ClientOptions | None = None) -> FakeSpeech:
    """Run a blocking program in a thread beside the service; return the service when nothing of it is left there."""

    def in_thread(address: str) -> None:
        with sync.Client(address, options or ClientOptions()) as client:
            program(client)

    async with serving(script) as fake:
        await asyncio.to_thread(in_thread, fake.address)
        async with asyncio.timeout(5):
            await fake.wait_until_left()
    return fake


async def threads() -> set[str]:
    """Return the names of the threads that the SDK has left, once those that are ending have ended."""
    left = {"not looked yet"}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while left:
                left = {t.name for t in threading.enumerate() if "greenroom" in t.name or "Timer" in repr(t)}
                await asyncio.sleep(0.01)
    return left


async def test_session_speaks_flushes_updates_and_cancels() -> None:
    """One conversation with everything in it, and its figures."""

    def program(client: sync.Client) -> None:
        with client.session(voice="bass") as session:
            utterance = session.utterance()
            utterance.write(HELLO[:9])
            ticket = utterance.flush("f")
            utterance.write(HELLO[9:])
            utterance.end()
            assert HELLO_SAMPLES == listen(utterance)
            result = utterance.done()
            assert (FinishReason.COMPLETE, 3) == (result.finish_reason, len(result.segments))
            assert "f" == ticket.done().flush_id
            session.update(voice="tenor", seed=4)
            with pytest.raises(NotFoundError):
                session.update(voice="nobody")
            second = session.utterance()
            second.write(HELLO)
            second.flush()
            for chunk in second:
                if chunk.sample_offset >= 12 * 240:
                    break
            cancelled = second.cancel(heard_samples=12 * 240)
            assert "Hello there." == cancelled.text_spoken
            assert second.config is not None
            assert "tenor" == second.config.voice
            with pytest.raises(UtteranceInterrupted):
                second.done()

    fake = await run(program)

    assert fake.session.half_closed


async def test_speech_of_a_token_stream_is_drawn_in_a_thread() -> None:
    """An iterator of text goes in, audio comes out."""

    def words() -> Iterator[str]:
        for word in HELLO.split(" "):
            yield word + " "
            time.sleep(0.001)

    def program(client: sync.Client) -> None:
        with client.session() as session, session.speak(words()) as speech:
            assert HELLO_SAMPLES == listen(speech)
            assert HELLO_SAMPLES == speech.done().samples

    assert 1 == (await run(program)).service.rpcs_begun


async def test_text_source_that_fails_is_raised_where_the_audio_is_read() -> None:
    """The utterance is cancelled and the session lives."""

    def texts() -> Iterator[str]:
        yield "It begins well. "
        raise OSError("model gone")

    def program(client: sync.Client) -> None:
        with client.session() as session:
            with pytest.raises(OSError, match="model gone"):
                listen(session.speak(texts()))
            assert 5 * 240 == listen(session.speak("Next."))

    assert 1 == (await run(program)).service.rpcs_begun


async def test_whole_text_is_collected_and_left() -> None:
    """All bytes with their figures; a loop that is left cancels its RPC."""

    def program(client: sync.Client) -> None:
        recording = client.synthesize(HELLO, encoding=Encoding.MULAW).collect()
        assert HELLO_SAMPLES == len(recording.data) == recording.result.samples
        for _ in client.synthesize(LONG):
            break
        with client.synthesize(LONG) as speech:
            next(iter(speech))
        with pytest.raises(ValueError, match="read the audio to its end"):
            _ = speech.result

    assert 3 == (await run(program, Script(chunk_delay_seconds=0.005))).service.rpcs_begun


async def test_catalogue_health_and_watermark_are_asked(tmp_path: Path) -> None:
    """Everything that is no speech, in one go."""
    path = tmp_path / "a.flac"
    path.write_bytes(b"fLaC" + bytes(100_000))

    def program(client: sync.Client) -> None:
        assert ["alto", "bass", "tenor"] == [voice.id for voice in client.voices()]
        assert "The bass." == client.voice("bass").description
        assert "fake" == client.info().service_name
        assert Health.SERVING is client.health()
        assert Health.SERVICE_UNKNOWN is client.health("no.such.Service")
        assert Verdict.PRESENT is client.detect_watermark(path).verdict
        assert Verdict.TOO_SHORT is client.detect_watermark(iter([b"x", b"y"]), encoding=Encoding.WAV).verdict
        with pytest.raises(FileNotFoundError):
            client.detect_watermark(tmp_path / "nothing.wav")

    assert b"fLaC" != (await run(program)).service.uploaded


async def test_pages_that_never_end_are_noticed() -> None:
    """A service that gives the same page for ever does not hang its client."""

    def program(client: sync.Client) -> None:
        with pytest.raises(ProtocolError, match="again and again"):
            client.voices()

    assert 3 > (await run(program, Script(voice_pages_repeat=True))).service.rpcs_begun - 1


async def test_events_are_heard_and_a_broken_callback_ends_the_session() -> None:
    """Notices reach the callback; what it raises is not swallowed."""
    heard: list[SessionEvent] = []

    def broken(event: SessionEvent) -> None:
        raise LookupError(type(event).__name__)

    def program(client: sync.Client) -> None:
        with client.session(on_event=heard.append) as session:
            listen(session.speak("One."))
        with client.session(on_event=broken) as session, pytest.raises(SessionClosedError, match="LookupError"):
            listen(session.speak("One."))

    await run(program, Script(draining_after_start=2.0))

    assert Draining(seconds_left=2.0) == heard[0]


async def test_calls_that_are_invited_to_come_again_do() -> None:
    """RetryInfo is followed on every kind of call."""
    refusals = deque(at_capacity(retry_after_seconds=0.01) for _ in range(4))

    def program(client: sync.Client) -> None:
        client.info()
        refusals.append(unavailable(retry_after_seconds=0.01))
        client.open_session().close()
        refusals.append(unavailable(retry_after_seconds=0.01))
        client.synthesize("Hi.").collect()
        refusals.append(unavailable(retry_after_seconds=0.01))
        with pytest.raises(UnavailableError):
            client.detect_watermark(iter([b"x"]), encoding=Encoding.WAV)

    refusals.pop()
    refusals.pop()

    assert 8 == (await run(program, Script(refusals=refusals), QUICK)).service.rpcs_begun


async def test_failures_are_raised_where_they_are_awaited() -> None:
    """A failed utterance, a refused text, a lost session: each raises its own."""
    script = Script(fail_utterance_after_chunks=1, utterance_text_bytes=100)

    def program(client: sync.Client) -> None:
        with client.session() as session:
            utterance = session.utterance()
            utterance.write(HELLO)
            with pytest.raises(UtteranceFailed, match="as scripted"):
                listen(utterance)
            script.fail_utterance_after_chunks = None
            with pytest.raises(MessageRefused):
                listen(session.speak("x" * 101))
        script.end_session_after_chunks, script.end_session_with = 2, unavailable(retry_after_seconds=1.0)
        heard: list[int] = []
        with client.session() as session, pytest.raises(UnavailableError):
            listen(session.speak(HELLO), heard)
        assert [0, 1] == heard

    await run(program, script)

    assert set() == await threads()


async def test_status_is_the_services_own_even_while_something_is_written() -> None:
    """A session that ends under its writers tells the service's reason, after all audio that was sent."""

    def program(client: sync.Client) -> None:
        for _ in range(5):
            with client.session() as session:
                utterance = session.utterance()
                utterance.write("Hello there, all of you who listen.")
                utterance.flush()

                def report_on(utterance: sync.Utterance = utterance) -> None:
                    with contextlib.suppress(UnavailableError):
                        for played_samples in itertools.count():
                            utterance.report_playback(played_samples)

                reporting = threading.Thread(target=report_on)
                reporting.start()
                heard: list[int] = []
                with pytest.raises(UnavailableError, match="as scripted"):
                    listen(utterance, heard)
                reporting.join(5)
                assert not reporting.is_alive()
                assert list(range(6)) == heard

    await run(program, Script(end_session_after_chunks=6, end_session_with=unavailable(retry_after_seconds=1.0)))

    assert set() == await threads()


async def test_service_that_does_not_answer_is_given_up() -> None:
    """Opening, cancel, whole text and a silent session have deadlines."""
    script = Script(silent=frozenset({"cancel", "text", "synthesize"}))
    options = ClientOptions(
        answer_timeout_seconds=0.3, first_audio_timeout_seconds=0.1, read_limits=ReadLimits(stall_seconds=0.2)
    )

    def program(client: sync.Client) -> None:
        with client.session() as session:
            utterance = session.utterance()
            utterance.write("Hello there. ")
            with pytest.raises(TimeoutError):
                utterance.read(timeout_seconds=0.01)
            with pytest.raises(TimeoutError):
                utterance.done(timeout_seconds=0.01)
            with pytest.raises(NoAnswerError, match="not acknowledged"):
                utterance.cancel(timeout_seconds=0.01)
            with pytest.raises(NoAnswerError, match=r"said nothing for 0\.2 s"):
                listen(session.speak("Never heard. "))
        with pytest.raises(NoAnswerError, match="no speech came"):
            client.synthesize("Hi.").collect()
        script.silent = frozenset({"session"})
        with pytest.raises(NoAnswerError, match="did not open"):
            client.open_session()

    await run(program, script, options)

    assert set() == await threads()


async def test_service_that_is_not_there_is_unreachable() -> None:
    """A refused connection is told soon, and as what it is; a client that is not open says so."""

    def program() -> None:
        with sync.Client("127.0.0.1:1", QUICK) as client:
            for attempt in (client.info, client.open_session, client.synthesize("Hi.").collect):
                with pytest.raises(UnreachableError):
                    attempt()
        with pytest.raises(SessionClosedError, match="with Client"):
            client.info()

    await asyncio.to_thread(program)

    assert set() == await threads()


async def test_consumer_that_stops_reading_loses_only_its_own_audio() -> None:
    """Memory is bounded and the other utterance is heard whole."""
    options = ClientOptions(read_limits=ReadLimits(read_ahead_bytes=10_000, max_buffered_bytes=100_000))

    def program(client: sync.Client) -> None:
        with client.session() as session:
            lazy = session.utterance()
            lazy.write_all("So much to say and nobody to listen. " * 20)
            assert 12 * 240 == listen(session.speak("Heard whole."))
            with pytest.raises(AudioOverrunError):
                listen(lazy)

    assert 1 == (await run(program, None, options)).service.rpcs_begun


async def test_upload_that_is_refused_or_fails_says_why() -> None:
    """The service's reason, and what the source raised, both arrive as they are."""

    def pieces() -> Iterator[bytes]:
        yield b"RIFF"
        raise OSError("disk gone")

    def program(client: sync.Client) -> None:
        with pytest.raises(InvalidRequestError, match="too much audio"):
            client.detect_watermark(b"RIFF" + bytes(2_000_000))
        with pytest.raises(OSError, match="disk gone"):
            client.detect_watermark(pieces(), encoding=Encoding.WAV)

    assert 2 == (await run(program, Script(detect_fails_after_bytes=100_000))).service.rpcs_begun


async def test_threads_of_a_program_that_stops_anywhere_are_gone_with_its_client() -> None:
    """Sessions left in mid-speech, from another thread too, leave neither a thread nor an RPC."""
    before = threading.active_count()

    def program(client: sync.Client) -> None:
        session = client.open_session()
        utterance = session.utterance()
        utterance.write(LONG)
        next(utterance)
        failures: list[BaseException] = []

        def hear_on() -> None:
            try:
                listen(utterance)
            except SessionClosedError as error:
                failures.append(error)

        hearing = threading.Thread(target=hear_on)
        hearing.start()
        with client.session() as other:
            for _ in other.speak(iter([LONG])):
                break
            with other.utterance() as unfinished:
                unfinished.write(LONG)
        session.close()
        hearing.join(5)
        assert not hearing.is_alive()
        assert 1 == len(failures)

    await run(program, Script(chunk_delay_seconds=0.005))
    async with asyncio.timeout(5):
        while threading.active_count() > before + 1:  # noqa: ASYNC110 - Threads set no event; one is asyncio's.
            await asyncio.sleep(0.02)

    assert set() == await threads()
