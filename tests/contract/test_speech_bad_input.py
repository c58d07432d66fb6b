"""Bad input over the wire: the answer that the tables give, and nothing else disturbed."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.tts.v1 import tts_pb2 as pb
from tests.fakes.wire import (
    Request,
    audio,
    cancel,
    config,
    converse,
    end,
    failure,
    fields,
    flush,
    kinds,
    reason,
    text,
    until,
)
from tools.both import Both

GOOD = [config(sampling=pb.Sampling(seed=1)), text("good", "All is well here."), end("good")]


async def check_undisturbed(speech: Any) -> None:
    """Another client is served as ever."""
    assert "utterance_done" in kinds(await converse(speech, GOOD))


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ([], ("FAILED_PRECONDITION", "CONFIG_NOT_FIRST")),
        ([text("u", "Hello.")], ("FAILED_PRECONDITION", "CONFIG_NOT_FIRST")),
        ([Request()], ("FAILED_PRECONDITION", "CONFIG_NOT_FIRST")),
        ([config(), text("u", "Hi."), config()], ("FAILED_PRECONDITION", "CONFIG_NOT_FIRST")),
        ([config(voice="nobody")], ("NOT_FOUND", "VOICE_NOT_FOUND")),
        ([config(voice="../../etc/passwd")], ("NOT_FOUND", "VOICE_NOT_FOUND")),
        ([config(model="gpt")], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(language="tlh")], ("INVALID_ARGUMENT", "BAD_LANGUAGE")),
        ([config(audio_format=pb.AudioFormat(sample_rate_hertz=7_999))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(audio_format=pb.AudioFormat(sample_rate_hertz=-1))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(audio_format=pb.AudioFormat(encoding=7))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(audio_format=pb.AudioFormat(encoding=99))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        (
            [config(audio_format=pb.AudioFormat(encoding=5, sample_rate_hertz=22_050))],
            ("INVALID_ARGUMENT", "BAD_CONFIG"),
        ),
        ([config(sampling=pb.Sampling(speaking_rate=float("nan")))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(sampling=pb.Sampling(speaking_rate=float("inf")))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(sampling=pb.Sampling(speaking_rate=2.1))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(sampling=pb.Sampling(seed=-1))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(max_audio_ahead=Duration(seconds=61))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(max_buffer_delay=Duration(seconds=-1))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(max_buffer_delay=Duration(seconds=1, nanos=-5))], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(text_aggregation=9)], ("INVALID_ARGUMENT", "BAD_CONFIG")),
        ([config(pacing=9)], ("INVALID_ARGUMENT", "BAD_CONFIG")),
    ],
)
async def test_session_with_a_bad_beginning_ends_with_its_reason(
    speech: Any, requests: list[Request], expected: tuple[str, str]
) -> None:
    """A missing, late, second or malformed config ends the stream with the status of the table."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await converse(speech, requests)

    assert expected == failure(raised.value)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (text("", "Hello."), "text.utterance_id"),
        (text("x" * 129, "Hello."), "text.utterance_id"),
        (text("tab\t", "Hello."), "text.utterance_id"),
        (text("ümlaut", "Hello."), "text.utterance_id"),
        (flush("u", "f" * 129), "flush.flush_id"),
        (cancel("u", heard_samples=-1), "cancel.heard_samples"),
        (Request(playback=pb.PlaybackPosition(utterance_id="u", played_samples=-1)), "playback.played_samples"),
        (Request(update=pb.UpdateConfig(config=pb.SessionConfig(voice="x"))), "update_mask"),
        (
            Request(
                update=pb.UpdateConfig(
                    config=pb.SessionConfig(), update_mask=FieldMask(paths=["audio_format.encoding"])
                )
            ),
            "update_mask",
        ),
        (
            Request(update=pb.UpdateConfig(config=pb.SessionConfig(), update_mask=FieldMask(paths=["colour"]))),
            "update_mask",
        ),
        (Request(), "request"),
    ],
)
async def test_message_with_a_bad_field_is_refused_and_the_session_speaks_on(
    speech: Any, request_: Request, field: str
) -> None:
    """A later message with an invalid field is an UtteranceError that names it; the session lives."""
    responses = await converse(speech, [config(), request_, text("v", "Still here."), end("v")])
    errors = [r.utterance_error for r in responses if r.WhichOneof("response") == "utterance_error"]

    assert [[field]] == [fields(e.error) for e in errors]
    assert [False] == [e.closed for e in errors]
    assert "utterance_done" in kinds(responses)


@pytest.mark.parametrize("words", ["", "   ", "\n\n", "😀🎉👍🏽", "\x00\x01\x1b", "\u200b\u200d", "?!...", "你好。"])
async def test_text_with_nothing_to_say_is_a_short_silence(speech: Any, words: str) -> None:
    """Empty, blank, emoji-only and control-character text, and what the voice cannot read, end as EMPTY."""
    responses = await converse(speech, [config(), text("u", words), end("u")])
    done = [r.utterance_done for r in responses if r.WhichOneof("response") == "utterance_done"]

    assert [(pb.FINISH_REASON_EMPTY, 4_800)] == [(d.finish_reason, d.samples) for d in done]


async def test_text_of_a_megabyte_is_refused_and_the_session_speaks_on(speech: Any) -> None:
    """Text beyond the limit is TEXT_TOO_LONG; the utterance and the session live."""
    responses = await converse(speech, [config(), text("u", "x" * 1_000_000), text("u", "Short."), end("u")])
    errors = [r.utterance_error for r in responses if r.WhichOneof("response") == "utterance_error"]

    assert ["TEXT_TOO_LONG"] == [reason(e.error) for e in errors]
    assert "utterance_done" in kinds(responses)


async def test_text_that_is_no_utf8_is_refused_and_the_session_speaks_on(both: Both) -> None:
    """Bytes that are no UTF-8 are an UtteranceError without an utterance; what was good is spoken."""
    raw = b"\x12\x09\x0a\x01u\x12\x04\xff\xfe\xfd\xfc"
    async with grpc.aio.insecure_channel(both.speech_address) as channel:
        call = channel.stream_stream(
            "/greenroom.tts.v1.TextToSpeechService/StreamingSynthesize",
            response_deserializer=pb.StreamingSynthesizeResponse.FromString,
        )()
        for message in (config(), text("v", "Still here."), raw, end("v")):
            await call.write(message if isinstance(message, bytes) else message.SerializeToString())
        await call.done_writing()
        responses = [response async for response in call]
    errors = [r.utterance_error for r in responses if r.WhichOneof("response") == "utterance_error"]

    assert [("", "BAD_CONFIG", False)] == [(e.utterance_id, reason(e.error), e.closed) for e in errors]
    assert "utterance_done" in kinds(responses)


async def test_config_that_is_no_utf8_is_bad_config(both: Both, speech: Any) -> None:
    """A first message that does not decode ends the stream with a reason instead of gRPC's INTERNAL."""
    async with grpc.aio.insecure_channel(both.speech_address) as channel:
        call = channel.stream_stream("/greenroom.tts.v1.TextToSpeechService/StreamingSynthesize")()
        await call.write(b"\x0a\x04\x0a\x02\xff\xfe")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in call:
                pass

    assert ("INVALID_ARGUMENT", "BAD_CONFIG") == failure(raised.value)
    await check_undisturbed(speech)


async def test_garbage_instead_of_a_message_is_bad_config(both: Both) -> None:
    """A request that is no protobuf at all gets a reason, too."""
    async with grpc.aio.insecure_channel(both.speech_address) as channel:
        call = channel.unary_unary("/greenroom.tts.v1.TextToSpeechService/GetVoice")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"\xff\xff\xff\xff")

    assert ("INVALID_ARGUMENT", "BAD_CONFIG") == failure(raised.value)


async def test_ten_thousand_flushes_are_answered_and_disturb_nobody(speech: Any) -> None:
    """Each flush is acknowledged or refused; the session and others live."""
    call = speech.StreamingSynthesize()
    await call.write(config())
    await call.write(text("u", "Hello there, this is a sentence. "))
    answered = asyncio.create_task(_flush_answers(call, 10_000))
    for number in range(10_000):
        await call.write(flush("u", str(number)))
    await check_undisturbed(speech)

    assert 10_000 == await answered
    call.cancel()


async def _flush_answers(call: Any, expected: int) -> int:
    count = 0
    async with asyncio.timeout(60):
        while count < expected:
            response = await call.read()
            count += response.WhichOneof("response") in {"flushed", "utterance_error"}
    return count


async def test_text_after_the_end_is_an_error_and_the_rest_is_spoken(speech: Any) -> None:
    """Text for an utterance that has ended is refused; the speech of what came before goes on."""
    requests = [config(), text("u", "One sentence."), end("u"), text("u", "Too late."), end("u")]
    responses = await converse(speech, requests)

    assert 1 == kinds(responses).count("utterance_error")
    assert 1 == kinds(responses).count("utterance_done")


async def test_unknown_utterance_is_told_by_cancel_only(speech: Any) -> None:
    """Cancel answers already_done; end and playback of an unknown id are ignored."""
    playback = Request(playback=pb.PlaybackPosition(utterance_id="ghost", played_samples=1))
    responses = await converse(speech, [config(), cancel("ghost"), end("ghost"), playback])

    assert ["session_started", "utterance_cancelled"] == kinds(responses)
    assert responses[1].utterance_cancelled.already_done


async def test_clients_that_vanish_leave_nothing_behind(both: Both, speech: Any) -> None:
    """Twenty clients that cancel in mid-speech give their places back."""
    for _ in range(20):
        call = speech.StreamingSynthesize()
        await call.write(config())
        await call.write(text("u", "A sentence that will not be heard to its end. " * 5))
        await until(call, "audio")
        call.cancel()
    await check_undisturbed(speech)

    for _ in range(100):
        if both.residency().sessions == 0 and not any(m.claims for m in both.residency().modules):
            break
        await asyncio.sleep(0.05)
    assert 0 == both.residency().sessions
    assert [0, 0, 0] == [m.claims for m in both.residency().modules]


async def test_client_that_never_reads_holds_up_nobody(speech: Any) -> None:
    """A client that writes and does not read keeps its own stream waiting, not others."""
    call = speech.StreamingSynthesize()
    await call.write(config(audio_format=pb.AudioFormat(encoding=2, sample_rate_hertz=48_000)))
    for number in range(16):
        await call.write(text(f"u{number}", "A long sentence that nobody reads, and so it goes on. " * 20))
    await check_undisturbed(speech)
    call.cancel()


async def test_same_seed_gives_the_same_bytes_alone_and_beside_others(speech: Any) -> None:
    """Ten sessions at once sound as each does alone."""

    def requests(seed: int) -> list[Request]:
        return [config(sampling=pb.Sampling(seed=seed)), text("u", f"This is number {seed}. And more."), end("u")]

    alone = [audio(await converse(speech, requests(seed))) for seed in range(10)]
    together = await asyncio.gather(*(converse(speech, requests(seed)) for seed in range(10)))

    assert alone == [audio(responses) for responses in together]
    assert len(set(alone)) == 10


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (pb.SynthesizeRequest(), ("INVALID_ARGUMENT", "BAD_CONFIG")),
        (pb.SynthesizeRequest(text="x" * 65_537), ("INVALID_ARGUMENT", "TEXT_TOO_LONG")),
        (pb.SynthesizeRequest(text="Hi.", config=pb.SessionConfig(voice="x")), ("NOT_FOUND", "VOICE_NOT_FOUND")),
    ],
)
async def test_whole_text_that_is_bad_gets_its_reason(
    speech: Any, request_: pb.SynthesizeRequest, expected: tuple[str, str]
) -> None:
    """Synthesize answers bad input with the same reasons."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in speech.Synthesize(request_):
            pass

    assert expected == failure(raised.value)
