"""Voices of a real service: made of recordings, spoken with, deleted in use, kept over a restart."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import soundfile
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from greenroom_client.errors import NotFoundError, UtteranceFailed
from greenroom_client.sync import Client
from greenroom_client.values import Verdict, VoiceContent
from tests.fakes.chatterbox_process import ENCODERS, away, busy, counted, eventually
from tests.fakes.health import health
from tests.fakes.recordings import recording, sound_file
from tests.fakes.tiny_weights import tiny_folder
from tests.fakes.wire import failure
from tools.both import Both
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel

SAY = Path(sys.executable).parent / "tts-say"
FIRST, SECOND = "Good evening, it is me.", " And I go on speaking."


def spoken(client: Client, voice: str, words: str = FIRST) -> bytes:
    """Return the samples of a whole text."""
    return client.synthesize(words, voice=voice, seed=4).collect().data


def test_voice_of_a_recording_brings_its_encoders_home_and_lets_them_go(chatterbox: Both, client: Client) -> None:
    """The encoders come for the upload, are used, and leave when nobody has used them for a while."""
    assert eventually(lambda: away(chatterbox.residency(), ENCODERS))
    before = chatterbox.residency()
    made = client.create_voice(sound_file(recording(6.0, seed=21)), display_name="Ann")
    after = chatterbox.residency()
    left = eventually(lambda: away(chatterbox.residency(), ENCODERS))
    restores, uses = (
        {name: counted(after, counter, ENCODERS)[name] - counted(before, counter, ENCODERS)[name] for name in ENCODERS}
        for counter in ("restores", "uses")
    )

    assert dict.fromkeys(ENCODERS, 1) == restores
    assert min(uses.values()) >= 1
    assert left
    assert {} == busy(chatterbox.residency())
    assert (False, "Ann", ("english",)) == (made.already_there, made.voice.display_name, made.voice.models)
    assert made.voice == client.voice(made.voice.id)
    assert spoken(client, made.voice.id) != spoken(client, "default")


def test_same_recording_again_is_the_same_voice(chatterbox: Both, client: Client) -> None:
    """The same bytes give the same id and no work; other bytes give another voice."""
    first = client.create_voice(sound_file(recording(5.0, seed=22), "flac"), display_name="Bea")
    uses = counted(chatterbox.residency(), "uses", ENCODERS)
    again = client.create_voice(sound_file(recording(5.0, seed=22), "flac"), display_name="Cleo")
    uses_later = counted(chatterbox.residency(), "uses", ENCODERS)
    other = client.create_voice(sound_file(recording(5.0, seed=23), "flac"))

    assert (True, first.voice) == (again.already_there, again.voice)
    assert uses == uses_later
    assert {first.voice.id, other.voice.id} <= {each.id for each in client.voices()}
    assert first.voice.id != other.voice.id


def test_voice_deleted_while_it_speaks_speaks_to_the_end_and_no_further(client: Client) -> None:
    """The utterance under way keeps its voice, to the byte; the session's next, and other sessions, do not find it."""
    voice = client.create_voice(sound_file(recording(5.0, seed=24))).voice.id
    expected = spoken(client, voice, FIRST + SECOND)
    with client.session(voice=voice, seed=4) as session:
        utterance = session.utterance()
        utterance.write(FIRST)
        utterance.flush().done(timeout_seconds=30)
        client.delete_voice(voice)
        utterance.write(SECOND)
        utterance.end()
        heard = b"".join(chunk.data for chunk in utterance)
        later = session.utterance()
        later.write_all(FIRST)
        with pytest.raises(UtteranceFailed) as failed:
            later.done(timeout_seconds=30)
    with pytest.raises(NotFoundError) as refused, client.session(voice=voice):
        pass

    assert expected == heard
    assert ("NOT_FOUND", "VOICE_NOT_FOUND") == (failed.value.error.code, failed.value.error.reason)
    assert ("NOT_FOUND", "VOICE_NOT_FOUND") == (refused.value.code, refused.value.reason)
    assert voice not in {each.id for each in client.voices()}


def test_conditionals_of_upstream_speak_as_the_model_s_own_voice(
    client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The `conds.pt` of the model's folder, uploaded, is the default voice under another id."""
    conditionals = tiny_folder(tmp_path_factory.getbasetemp(), ChatterboxModel.ENGLISH) / "conds.pt"
    made = client.create_voice(conditionals, display_name="Imported", content=VoiceContent.UPSTREAM_CONDITIONALS)

    assert "default" != made.voice.id
    assert spoken(client, "default") == spoken(client, made.voice.id)


def test_clone_of_the_command_speaks_into_a_file(chatterbox: Both, client: Client, tmp_path: Path) -> None:
    """`tts-say --clone` makes the voice and writes a watermarked file that is what the SDK hears of that voice."""
    reference, target = tmp_path / "ann.wav", tmp_path / "ann-speaks.wav"
    reference.write_bytes(sound_file(recording(5.0, seed=25)))
    arguments = ["--clone", str(reference), FIRST, "-o", str(target), "--seed", "4", "--json"]
    done = subprocess.run(
        [str(SAY), "--server", chatterbox.speech_address, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    voice = said["cloned"]["voice"]
    samples, rate_hertz = soundfile.read(target, dtype="int16")

    assert (None, "ann", voice["id"]) == (said["error"], voice["display_name"], said["voice"])
    assert said["speech_tokens"] > 0
    assert (24_000, spoken(client, voice["id"])) == (rate_hertz, samples.tobytes())
    assert Verdict.PRESENT is client.detect_watermark(target).verdict


def test_restarted_service_refuses_with_a_time_to_retry_and_then_has_its_voices(
    chatterbox: Both, client: Client
) -> None:
    """While it loads again, uploads and sessions hear UNAVAILABLE with RetryInfo; then the voice is what it was."""
    voice = client.create_voice(sound_file(recording(5.0, seed=26)), display_name="Dora").voice
    before = spoken(client, voice.id)
    chatterbox.service.stop()
    chatterbox.service.start()
    chatterbox.service.until(lambda: health(chatterbox.speech_address) is not None)
    loading = health(chatterbox.speech_address)
    refusals = refused(chatterbox.speech_address)
    chatterbox.wait_serving()
    with Client(chatterbox.speech_address) as anew:
        kept, after = anew.voice(voice.id), spoken(anew, voice.id)

    assert health_pb2.HealthCheckResponse.NOT_SERVING == loading
    assert [("UNAVAILABLE", "ENGINE_STARTING", True)] * 2 == refusals
    assert (voice, before) == (kept, after)


def refused(address: str) -> list[tuple[str, str, bool]]:
    """Return code, reason and whether there is a time to retry, of an upload and of a session that are refused."""
    spec = pb.CreateVoiceRequest(spec=pb.VoiceSpec())
    opening = pb.StreamingSynthesizeRequest(config=pb.SessionConfig())
    answers = []
    with grpc.insecure_channel(address) as channel:
        stub = tts_pb2_grpc.TextToSpeechServiceStub(channel)
        for call in (lambda: stub.CreateVoice(iter([spec])), lambda: list(stub.StreamingSynthesize(iter([opening])))):
            with pytest.raises(grpc.RpcError) as raised:
                call()
            answers.append((*failure(raised.value), retry_seconds(raised.value) > 0))
    return answers


def retry_seconds(error: Any) -> float:
    """Return after how long a status says that a retry makes sense; 0 if it does not say."""
    status, info = rpc_status.from_call(error), error_details_pb2.RetryInfo()
    found = status is not None and any(detail.Unpack(info) for detail in status.details)
    return info.retry_delay.ToNanoseconds() / 1e9 if found else 0.0
