"""Interruption: by message, by closing the RPC, at every moment of an utterance."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.tts.v1 import tts_pb2 as pb
from tests.fakes.session_driver import SessionDriver
from tests.fakes.wire import audio, cancel, config, converse, end, kinds, rest_of, text, until
from tools.both import Both
from tts_service.speech.protocol import AudioChunk, CancelUtterance, EndUtterance, TextChunk, UtteranceCancelled
from tts_service.speech.rendering import DiscardAudio
from tts_service.speech.session_config import ConfigRequest, Pacing

SENTENCES = "First a short one. Then comes another, somewhat longer one. And this is the third and last of them."


async def test_cancel_in_mid_speech_is_acknowledged_and_nothing_follows(speech: Any) -> None:
    """After UtteranceCancelled no AudioChunk of the utterance is written, and the text is split without loss."""
    call = speech.StreamingSynthesize()
    await call.write(config(pacing=pb.PACING_REALTIME))
    await call.write(text("u", SENTENCES))
    await until(call, "audio")
    await call.write(cancel("u"))
    cancelled = (await until(call, "utterance_cancelled")).utterance_cancelled
    await call.write(text("v", "Something else."))
    await call.write(end("v"))
    await call.done_writing()
    rest = await rest_of(call)

    assert b"" == audio(rest, "u")
    assert b"" != audio(rest, "v")
    assert SENTENCES == cancelled.text_spoken + cancelled.text_unspoken
    assert 0 < cancelled.samples_sent


async def test_cancel_with_heard_samples_splits_where_the_listener_was(speech: Any) -> None:
    """Text counts as spoken up to the segment that was half heard."""
    call = speech.StreamingSynthesize()
    await call.write(config())
    await call.write(text("u", SENTENCES))
    first = (await until(call, "segment_done")).segment_done
    await call.write(cancel("u", heard_samples=first.sample_end))
    cancelled = (await until(call, "utterance_cancelled")).utterance_cancelled
    call.cancel()

    assert SENTENCES[: first.text_end] == cancelled.text_spoken


async def test_cancel_before_any_text_is_already_done(speech: Any) -> None:
    """A cancel that comes first is answered, and the id is still free."""
    responses = await converse(speech, [config(), cancel("u"), text("u", "Hello."), end("u")])

    assert ["session_started", "utterance_cancelled"] == kinds(responses)[:2]
    assert "utterance_done" in kinds(responses)


async def test_cancel_twice_is_acknowledged_twice(speech: Any) -> None:
    """The second cancel finds nothing left to do."""
    responses = await converse(speech, [config(), text("u", "Hello. And"), cancel("u"), cancel("u")])
    cancels = [r.utterance_cancelled for r in responses if r.WhichOneof("response") == "utterance_cancelled"]

    assert [False, True] == [c.already_done for c in cancels]


async def test_text_after_a_cancel_is_dropped_in_silence(speech: Any) -> None:
    """A model that still writes after the barge-in does no harm."""
    responses = await converse(speech, [config(), text("u", "Hello. And"), cancel("u"), text("u", "more"), end("u")])

    assert 0 == kinds(responses).count("utterance_error")
    assert 1 == kinds(responses).count("utterance_cancelled")


@pytest.mark.parametrize("after", ["session_started", "utterance_started", "audio", "segment_done"])
async def test_rpc_cancelled_at_any_point_gives_every_lease_and_claim_back(both: Both, speech: Any, after: str) -> None:
    """A client that goes leaves no lease, no claim and no session behind."""
    call = speech.StreamingSynthesize()
    await call.write(config(pacing=pb.PACING_REALTIME))
    await call.write(text("u", SENTENCES))
    await until(call, after)
    call.cancel()

    for _ in range(200):
        report = both.residency()
        if not report.sessions and not any(m.claims or m.leases for m in report.modules):
            break
        await asyncio.sleep(0.02)
    assert (0, 0, 0) == (report.sessions, sum(m.claims for m in report.modules), sum(m.leases for m in report.modules))


async def test_whole_text_cancelled_by_the_client_stops_its_work(both: Both, speech: Any) -> None:
    """Synthesize ends with its client, too."""
    call = speech.Synthesize(pb.SynthesizeRequest(text=SENTENCES * 100))
    await call.read()
    call.cancel()

    for _ in range(200):
        if not both.residency().sessions:
            break
        await asyncio.sleep(0.02)
    assert 0 == both.residency().sessions


@settings(deadline=None, max_examples=50)
@given(
    seconds=st.floats(0, 12),
    heard=st.none() | st.integers(0, 300_000),
    ended=st.booleans(),
)
def test_cancel_at_any_moment_stops_audio_and_work_and_loses_no_text(
    seconds: float, heard: int | None, *, ended: bool
) -> None:
    """The pure session keeps the promises of a cancel whenever it comes."""
    driver = SessionDriver(ConfigRequest(pacing=Pacing.REALTIME)).say(TextChunk(utterance_id="u", text=SENTENCES))
    if ended:
        driver.say(EndUtterance(utterance_id="u"))
    driver.wait(seconds, step_seconds=0.5)
    driver.say(CancelUtterance(utterance_id="u", heard_samples=heard)).wait(5, step_seconds=0.5)
    at = next(i for i, m in enumerate(driver.messages) if isinstance(m, UtteranceCancelled))
    cancelled = driver.messages[at]
    assert isinstance(cancelled, UtteranceCancelled)

    assert not any(isinstance(m, AudioChunk) for m in driver.messages[at:])
    assert cancelled.already_done or DiscardAudio(utterance_id="u") in driver.orders
    assert cancelled.already_done or SENTENCES == cancelled.text_spoken + cancelled.text_unspoken
