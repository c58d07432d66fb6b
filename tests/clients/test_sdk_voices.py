"""Voices through the SDK, asyncio and blocking alike: made, described, deleted, spoken with."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from greenroom.tts.v1 import tts_pb2
from greenroom_client import aio, sync
from greenroom_client.config import SessionConfig
from greenroom_client.errors import InvalidRequestError, NotFoundError, UnavailableError
from greenroom_client.events import GuardedSegment, SpeechGuard, UtteranceDone
from greenroom_client.responses import session_event
from greenroom_client.values import VoiceContent
from tests.fakes.fake_speech_script import Script, unavailable
from tests.fakes.fake_speech_service import FakeSpeech, serving

RECORDING = b"RIFF" + bytes(200_000)
VOICE = f"v{hashlib.sha256(RECORDING).hexdigest()[:32]}"


@pytest.fixture
async def fake() -> AsyncIterator[FakeSpeech]:
    """Serve."""
    async with serving(Script()) as running:
        yield running


async def in_thread(fake: FakeSpeech, program: Callable[[sync.Client], None]) -> None:
    """Run a blocking program beside the service."""

    def run() -> None:
        with sync.Client(fake.address) as client:
            program(client)

    await asyncio.to_thread(run)


async def test_asyncio_client_makes_and_deletes_a_voice(fake: FakeSpeech, tmp_path: Path) -> None:
    """A file, bytes and pieces give the same voice; the second time it was there already."""
    path = tmp_path / "ann.wav"
    path.write_bytes(RECORDING)

    async def pieces() -> AsyncIterator[bytes]:
        yield RECORDING[:100]
        yield RECORDING[100:]

    async with aio.Client(fake.address) as client:
        made = await client.create_voice(path, display_name="Ann", model="hum", languages=["en"])
        again = await client.create_voice(RECORDING)
        streamed = await client.create_voice(pieces(), content=VoiceContent.UPSTREAM_CONDITIONALS)
        spec = tts_pb2.VoiceSpec.FromString(fake.service.spec.SerializeToString())
        listed = [voice.id for voice in await client.voices()]
        recording = await client.synthesize("Hi.", voice=VOICE).collect()
        await client.delete_voice(VOICE)
        with pytest.raises(NotFoundError):
            await client.voice(VOICE)
        with pytest.raises(InvalidRequestError):
            await client.delete_voice("alto")

    assert (VOICE, "Ann", False) == (made.voice.id, made.voice.display_name, made.already_there)
    assert (made.voice, True) == (again.voice, again.already_there) == (streamed.voice, streamed.already_there)
    assert tts_pb2.VOICE_CONTENT_UPSTREAM_CONDITIONALS == spec.content
    assert 1_700_000_000 == made.voice.created_unix_seconds
    assert VOICE in listed
    assert VOICE == recording.config.voice


async def test_blocking_client_makes_and_deletes_a_voice(fake: FakeSpeech, tmp_path: Path) -> None:
    """The same without await."""
    path = tmp_path / "ann.wav"
    path.write_bytes(RECORDING)

    def program(client: sync.Client) -> None:
        made = client.create_voice(path, display_name="Ann", languages=["en"])
        again = client.create_voice(iter([RECORDING]))
        assert (VOICE, False, True) == (made.voice.id, made.already_there, again.already_there)
        assert made.voice == client.voice(VOICE)
        client.delete_voice(VOICE)
        with pytest.raises(NotFoundError):
            client.delete_voice(VOICE)

    await in_thread(fake, program)

    assert RECORDING == fake.service.uploaded


async def test_bad_recording_is_told_by_the_service(fake: FakeSpeech) -> None:
    """What is wrong with a recording is said in the service's words."""

    def program(client: sync.Client) -> None:
        with pytest.raises(InvalidRequestError, match="the recording is short"):
            client.create_voice(b"RIFF")

    await in_thread(fake, program)
    async with aio.Client(fake.address) as client:
        with pytest.raises(InvalidRequestError, match="the recording is short") as caught:
            await client.create_voice(b"RIFF")

    assert "BAD_AUDIO" == caught.value.reason


async def test_missing_file_is_the_callers_own_error(fake: FakeSpeech, tmp_path: Path) -> None:
    """Nothing is sent of a file that is not there, and the error is Python's."""

    def program(client: sync.Client) -> None:
        with pytest.raises(FileNotFoundError):
            client.create_voice(tmp_path / "nothing.wav")

    await in_thread(fake, program)
    async with aio.Client(fake.address) as client:
        with pytest.raises(FileNotFoundError):
            await client.create_voice(tmp_path / "nothing.wav")

    assert [*fake.service.voices] == ["alto", "bass", "tenor"]


async def test_upload_is_repeated_only_if_it_can_be() -> None:
    """Bytes are sent again where the service invites it; an iterator, once begun, is not."""
    refusals = Script().refusals
    refusals.append(unavailable(retry_after_seconds=0.01))
    async with serving(Script(refusals=refusals)) as fake, aio.Client(fake.address) as client:
        made = await client.create_voice(RECORDING)
        refusals.append(unavailable(retry_after_seconds=0.01))
        with pytest.raises(UnavailableError):
            await client.create_voice(iter([RECORDING]))

    assert (VOICE, 3) == (made.voice.id, fake.service.rpcs_begun)


async def test_model_tells_its_settings_tags_and_missing_languages(fake: FakeSpeech) -> None:
    """What a user can ask of a model is in the service's description."""
    async with aio.Client(fake.address) as client:
        info = await client.info()
    (model,) = info.models

    assert {"temperature": 0.8, "top_k": 1_000} == model.default_sampling
    assert (True, ("[laugh]",), {"he": ("dicta",)}) == (model.creates_voices, model.tags, model.missing_languages)
    assert 60.0 == info.limits.max_voice_audio_seconds


async def test_sampling_settings_reach_the_service_and_come_back(fake: FakeSpeech) -> None:
    """What is set is in the effective configuration; a change touches its own field."""
    async with (
        aio.Client(fake.address) as client,
        client.session(SessionConfig(temperature=0.7), exaggeration=0.9, top_k=0) as session,
    ):
        config = session.config

    assert (0.7, 0.9, 0, None) == (config.temperature, config.exaggeration, config.top_k, config.cfg_weight)


def test_done_tells_tokens_and_guards() -> None:
    """A guard that is newer than this client is called unknown."""
    done = tts_pb2.UtteranceDone(
        utterance_id="u",
        speech_tokens=75,
        guarded_segments=[
            tts_pb2.GuardedSegment(text_start=0, text_end=9, guard=tts_pb2.SPEECH_GUARD_LOOP),
            tts_pb2.GuardedSegment(text_start=9, text_end=12, guard=77),  # type: ignore[arg-type]  # The future.
        ],
    )
    event = session_event(tts_pb2.StreamingSynthesizeResponse(utterance_done=done))

    assert isinstance(event, UtteranceDone)
    assert (75, (SpeechGuard.LOOP, SpeechGuard.UNKNOWN)) == (
        event.speech_tokens,
        tuple(each.guard for each in event.guarded_segments),
    )
    assert GuardedSegment(text_start=0, text_end=9, guard=SpeechGuard.LOOP) == event.guarded_segments[0]
