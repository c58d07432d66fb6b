"""The asyncio SDK against a real server that keeps the wire contract: what works."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from greenroom.tts.v1 import tts_pb2
from greenroom_client import aio
from greenroom_client.config import Encoding, Pacing, SessionConfig
from greenroom_client.errors import MessageRefused, NotFoundError, ProtocolError, UtteranceFailed, UtteranceInterrupted
from greenroom_client.events import Draining, FinishReason, SegmentSpoken, SessionEvent
from greenroom_client.options import ClientOptions
from greenroom_client.values import Health, Verdict
from tests.fakes.fake_speech_script import Script
from tests.fakes.fake_speech_service import serving
from tests.fakes.listener import hear

HELLO = "Hello there. How are you?"
HELLO_SAMPLES = len(HELLO) * 240
"""The fake hums 10 ms a byte, at 24 kHz."""


async def words(text: str) -> AsyncIterator[str]:
    """Yield a text word by word, as a language model would."""
    for word in text.split(" "):
        yield word + " "
        await asyncio.sleep(0)


async def test_session_confirms_the_configuration_with_every_default() -> None:
    """What was asked for and what the service chose are seen before anything is said."""
    async with (
        serving() as fake,
        aio.Client(fake.address) as client,
        client.session(SessionConfig(voice="bass"), seed=5, sample_rate_hertz=8_000) as session,
    ):
        config = session.config

    assert ("bass", 5, 8_000, Encoding.PCM_S16LE) == (
        config.voice,
        config.seed,
        config.sample_rate_hertz,
        config.encoding,
    )
    assert "session-1" == session.id
    assert 64 == session.limits.waiting_flushes


async def test_utterance_is_heard_in_order_and_ends_with_its_figures() -> None:
    """Text in pieces comes back as gap-free audio, then figures and the map from text to samples."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write(HELLO[:9])
        await utterance.write(HELLO[9:])
        await utterance.end()
        chunks = [chunk async for chunk in utterance]
        result = await utterance.done()

    assert list(range(len(chunks))) == [chunk.sequence for chunk in chunks]
    assert HELLO_SAMPLES * 2 == len(b"".join(chunk.data for chunk in chunks))
    assert chunks[-1].last
    assert (FinishReason.COMPLETE, HELLO_SAMPLES, 0.025) == (
        result.finish_reason,
        result.samples,
        result.first_audio_seconds,
    )
    assert [(0, 12), (12, 25)] == [(segment.text_start, segment.text_end) for segment in result.segments]


async def test_flush_is_acknowledged_when_its_speech_has_come() -> None:
    """A ticket is answered once all text before the flush was spoken, while the utterance is still open."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write("No full stop yet")
        ticket = await utterance.flush("mine")
        flushed = await ticket.done()
        await utterance.end()
        samples = await hear(utterance)

    assert ("mine", 16 * 240) == (flushed.flush_id, flushed.samples_sent)
    assert 16 * 240 == samples


async def test_speech_of_a_token_stream_comes_while_tokens_come() -> None:
    """An iterator of text goes in, audio comes out, and the figures follow."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        speech = session.speak(words(HELLO))
        first = await anext(aiter(speech))
        rest = [chunk async for chunk in speech]
        result = await speech.done()

    assert [0, 1] == [first.sequence, rest[0].sequence]
    assert HELLO_SAMPLES == result.samples


@pytest.mark.parametrize("texts", [HELLO, [HELLO], ["Hello there.", " How are you?"]])
async def test_speech_of_plain_texts_is_the_same(texts: str | list[str]) -> None:
    """A whole text and ordinary iterables of text are taken as well."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        samples = await hear(session.speak(texts))

    assert HELLO_SAMPLES == samples


async def test_utterances_of_one_session_are_heard_side_by_side() -> None:
    """Two utterances are written and awaited at once; each hears its own audio."""

    async def speak(session: aio.Session, text: str) -> int:
        return await hear(session.speak(text))

    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        samples = await asyncio.gather(*(speak(session, "x" * length + ".") for length in (3, 9, 27)))

    assert [4 * 240, 10 * 240, 28 * 240] == samples


async def test_cancel_says_what_was_spoken_and_what_was_not() -> None:
    """The text is split where the listener was, and the audio ends at once on this side too."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write(HELLO)
        await utterance.flush()
        async for chunk in utterance:
            if chunk.sample_offset >= 12 * 240:
                break
        cancelled = await utterance.cancel(heard_samples=12 * 240)
        late = [chunk async for chunk in utterance]
        with pytest.raises(UtteranceInterrupted):
            await utterance.done()

    assert ("Hello there.", " How are you?") == (cancelled.text_spoken, cancelled.text_unspoken)
    assert [] == late


async def test_cancel_twice_and_after_the_end_is_harmless() -> None:
    """There is nothing left to cancel, and that is said."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write_all("Short.")
        await hear(utterance)
        cancels = [await utterance.cancel(), await utterance.cancel()]
        nothing = await session.utterance().cancel()

    assert [True, True, True] == [cancelled.already_done for cancelled in (*cancels, nothing)]


async def test_empty_utterance_ends_by_itself() -> None:
    """Ending an utterance without any text gets the service's short silence, not a wait for ever."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write("")
        await utterance.end()
        await utterance.end()
        result = await utterance.done()

    assert FinishReason.EMPTY is result.finish_reason


async def test_update_is_in_force_for_the_next_utterance() -> None:
    """Updates are confirmed, utterances say what they are spoken with, and a refused update changes nothing."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        await session.update(voice="tenor", seed=11)
        with pytest.raises(NotFoundError, match="no voice 'nobody'"):
            await session.update(voice="nobody")
        speech = session.speak("La.")
        await hear(speech)
        result = await speech.done()

    assert ("tenor", 11) == (result.config.voice, result.config.seed)


async def test_update_to_none_goes_back_to_the_default() -> None:
    """A field that is named with None is cleared, not left alone."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session(seed=3) as session:
        await session.update(seed=None)

        assert not fake.session.config.sampling.HasField("seed")


async def test_text_over_the_limit_is_told_to_the_writer_and_the_session_lives() -> None:
    """The service refuses the piece; the writer learns of it and the next utterance is spoken."""
    async with (
        serving(Script(utterance_text_bytes=20)) as fake,
        aio.Client(fake.address) as client,
        client.session() as session,
    ):
        utterance = session.utterance()
        await utterance.write("A short start.")
        await utterance.write("This is too much.")
        await session.update(seed=1)
        with pytest.raises(MessageRefused, match="too much text"):
            await utterance.write("Also refused.")
        await utterance.end()
        samples = await hear(utterance)
        after = await hear(session.speak("Next."))

    assert 14 * 240 == samples
    assert 5 * 240 == after


async def test_text_of_a_megabyte_does_not_break_the_session() -> None:
    """Text far over every limit costs its own utterance only."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        speech = session.speak("x" * 1_000_000)
        with pytest.raises(MessageRefused):
            await hear(speech)
        after = await hear(session.speak("Next."))

    assert 5 * 240 == after


async def test_events_are_heard_as_they_come() -> None:
    """Notices and segments reach the callback."""
    heard: list[SessionEvent] = []
    async with (
        serving(Script(draining_after_start=1.5)) as fake,
        aio.Client(fake.address) as client,
        client.session(on_event=heard.append) as session,
    ):
        await hear(session.speak("One. Two."))

    assert Draining(seconds_left=1.5) in heard
    assert [4, 9] == [event.text_end for event in heard if isinstance(event, SegmentSpoken)]


async def test_answers_from_the_future_are_passed_over() -> None:
    """An answer of a kind that this client does not know breaks nothing."""
    async with (
        serving(Script(speak_of_the_future=True)) as fake,
        aio.Client(fake.address) as client,
        client.session() as session,
    ):
        samples = await hear(session.speak("Now."))

    assert 4 * 240 == samples


async def test_playback_is_reported_to_the_service() -> None:
    """The listener's position arrives; before the first text there is nothing to report."""
    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.report_playback(1)
        await utterance.write_all("Hear me.")
        await utterance.report_playback(480)
        await utterance.done()

        assert {utterance.id: 480} == fake.session.playback


async def test_whole_text_is_collected_with_its_figures() -> None:
    """`collect` returns all bytes, the figures, and the configuration in force."""
    async with serving() as fake, aio.Client(fake.address) as client:
        recording = await client.synthesize(HELLO, encoding=Encoding.PCM_F32LE, pacing=Pacing.NONE).collect()

    assert HELLO_SAMPLES * 4 == len(recording.data)
    assert (HELLO_SAMPLES, 2) == (recording.result.samples, len(recording.result.segments))
    assert Encoding.PCM_F32LE is recording.config.encoding


@pytest.mark.parametrize(("text", "complaint"), [("x" * 1_000_001, "fit no message"), ("\ud800", "surrogates")])
async def test_whole_text_that_fits_no_message_is_refused_here(text: str, complaint: str) -> None:
    """What the wire cannot carry is the caller's error, before anything is dialled."""
    async with aio.Client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=complaint):
            client.synthesize(text)


async def test_whole_text_has_no_result_before_its_end() -> None:
    """Asking for the figures too early is the caller's error."""
    async with serving() as fake, aio.Client(fake.address) as client:
        speech = client.synthesize(HELLO)

        with pytest.raises(ValueError, match="read the audio to its end first"):
            _ = speech.result


async def test_catalogue_is_read_to_its_last_page() -> None:
    """All pages of voices are joined; one voice and the service are described."""
    async with serving() as fake, aio.Client(fake.address) as client:
        voices = await client.voices()
        bass = await client.voice("bass")
        info = await client.info()

    assert ["alto", "bass", "tenor"] == [voice.id for voice in voices]
    assert bass == voices[1]
    assert ("fake", 48_000) == (info.service_name, info.max_sample_rate_hertz)
    assert Encoding.FLAC in info.synthesize_encodings


async def test_pages_that_never_end_are_noticed() -> None:
    """A service that gives the same page for ever does not hang its client."""
    async with serving(Script(voice_pages_repeat=True)) as fake, aio.Client(fake.address) as client:
        with pytest.raises(ProtocolError, match="again and again"):
            await client.voices()


async def test_health_is_asked_of_the_standard_service() -> None:
    """The speech service's own name, the whole server, and a service that is not there."""
    async with serving() as fake, aio.Client(fake.address) as client:
        answers = [await client.health(), await client.health(""), await client.health("no.such.Service")]

    assert [Health.SERVING, Health.SERVING, Health.SERVICE_UNKNOWN] == answers


@pytest.mark.parametrize("form", ["path", "bytes", "iterator", "async iterator"])
async def test_watermark_is_looked_for_in_every_kind_of_source(form: str, tmp_path: Path) -> None:
    """A path, bytes and both kinds of iterators arrive byte for byte."""
    data = b"RIFF" + bytes(200_000)
    path = tmp_path / "a.wav"
    path.write_bytes(data)

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:70_000]
        yield data[70_000:]

    sources = {"path": path, "bytes": data, "iterator": [data[:5], data[5:]], "async iterator": pieces()}
    async with serving() as fake, aio.Client(fake.address) as client:
        found = await client.detect_watermark(sources[form], encoding=Encoding.WAV)

        assert (Verdict.PRESENT, 0.99) == (found.verdict, found.score)
        assert data == fake.service.uploaded
        assert tts_pb2.AUDIO_ENCODING_WAV == fake.service.upload_format.encoding


async def test_watermark_of_raw_audio_is_sent_with_its_rate() -> None:
    """Headerless audio needs its coding and rate, and both arrive."""
    async with serving() as fake, aio.Client(fake.address) as client:
        found = await client.detect_watermark(bytes(10), encoding=Encoding.MULAW, sample_rate_hertz=8_000)

        assert (Verdict.TOO_SHORT, None) == (found.verdict, found.score)
        assert 8_000 == fake.service.upload_format.sample_rate_hertz


async def test_metadata_goes_with_every_call() -> None:
    """Credentials and request ids of the options reach the service, on all kinds of calls."""
    options = ClientOptions(metadata={"X-Request-Id": "42"})
    async with serving() as fake, aio.Client(fake.address, options) as client:
        await client.info()
        on_unary = fake.service.metadata.get("x-request-id")
        async with client.session():
            on_session = fake.service.metadata.get("x-request-id")

    assert "42" == on_unary == on_session


async def test_unix_socket_is_served_like_any_address(tmp_path: Path) -> None:
    """The path of a socket is an address."""
    socket = tmp_path / "s.sock"
    async with serving(address=f"unix:{socket}"), aio.Client(str(socket)) as client:
        info = await client.info()

    assert "fake" == info.service_name


async def test_failed_utterance_is_raised_where_it_is_awaited() -> None:
    """Audio until the fault is heard, then the fault; the session lives and speaks on."""
    script = Script(fail_utterance_after_chunks=2)
    async with serving(script) as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write_all(HELLO)
        heard: list[int] = []
        with pytest.raises(UtteranceFailed, match="as scripted") as caught:
            await hear(utterance, heard)
        with pytest.raises(UtteranceFailed):
            await utterance.write("more")
        script.fail_utterance_after_chunks = None
        after = await hear(session.speak("Next."))

    assert [0, 1] == heard
    assert "ENGINE_FAULT" == caught.value.error.reason
    assert 5 * 240 == after
