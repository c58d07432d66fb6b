"""CreateVoice and DeleteVoice over the wire: the voice, what is refused, and what stays behind (nothing)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from tests.fakes.recordings import recording, sound_file
from tests.fakes.upstream_voices import saved, upstream_content
from tests.fakes.voice_desk import VoiceDesk, pieces_of, requests, voice_desk
from tests.fakes.voices import MODEL
from tts_service.api.voice_upload import VoiceUploadLimits
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.residency.types import Tier
from tts_service.speech.reference_audio import read_reference
from tts_service.speech.voice_encoding import VoiceEncoding, encoding_rules

GOOD = sound_file(recording(6))
WAIT_SECONDS = 20.0


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[VoiceDesk]:
    """Serve."""
    async with voice_desk(tmp_path / "voices") as running:
        yield running


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110  # What is awaited is in another thread or process.
            await asyncio.sleep(0.005)


async def refusal(call: Awaitable[Any]) -> tuple[str, str]:
    """Return the reason and the words of a refused call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return told(caught.value)


def told(error: Any) -> tuple[str, str]:
    """Return the reason and the words of an error."""
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, status.message


async def test_reference_audio_becomes_a_voice(desk: VoiceDesk) -> None:
    """What is stored is what the encoders make of the recording, and what is answered is what is listed."""
    made = await desk.create(pieces_of(GOOD), display_name="Ann", languages=["DE"])
    encoding = VoiceEncoding(read_reference(GOOD), encoding_rules(ChatterboxModel.ENGLISH))
    while modules := encoding.next_modules:
        encoding.step({name: desk.encoders[name] for name in modules})
    wanted, stored = encoding.voice().tensors(), desk.store.conditionals(made.voice.id, MODEL).tensors()
    got = await desk.stub.GetVoice(pb.GetVoiceRequest(voice=made.voice.id))

    assert all(torch.equal(wanted[name], stored[name]) for name in wanted)
    assert made.voice == got.voice
    assert (False, "Ann", ["de"], [MODEL]) == (
        made.already_there,
        made.voice.display_name,
        list(made.voice.languages),
        list(made.voice.models),
    )
    assert "6.0 s of reference audio" in made.voice.description
    assert 64 == len(made.voice.content_sha256)
    assert 1_700_000_000 == made.voice.create_time.seconds


async def test_defaults_are_the_models(desk: VoiceDesk) -> None:
    """Without a name, model or languages, the id, the default model and all of its languages are taken."""
    made = await desk.create(pieces_of(GOOD))

    assert (made.voice.id, ["en", "de"], [MODEL]) == (
        made.voice.display_name,
        list(made.voice.languages),
        list(made.voice.models),
    )


async def test_same_upload_again_is_answered_with_the_same_voice(desk: VoiceDesk) -> None:
    """The second upload, in other pieces and under another name, makes nothing."""
    first = await desk.create(pieces_of(GOOD), display_name="Ann")
    second = await desk.create([GOOD[:7], b"", GOOD[7:]], display_name="Bob", model=MODEL)

    assert (first.voice, True) == (second.voice, second.already_there)


async def test_upstreams_conditionals_become_a_voice_without_encoders(desk: VoiceDesk) -> None:
    """A voice that is taken over calls no module."""
    given = upstream_content()
    made = await desk.create(pieces_of(saved(given)), content=pb.VOICE_CONTENT_UPSTREAM_CONDITIONALS)

    assert "Imported" in made.voice.description
    stored = desk.store.conditionals(made.voice.id, MODEL)
    assert torch.equal(given["gen"]["prompt_feat"][0], stored.prompt.mel)
    assert 0 == sum(module.uses for module in desk.residency.report().modules)


async def test_deleted_voice_is_gone_and_those_who_have_it_go_on(desk: VoiceDesk) -> None:
    """A voice in use is deleted without a wait; whoever asks later hears that there is none."""
    voice = (await desk.create(pieces_of(GOOD))).voice.id
    in_use = desk.store.conditionals(voice, MODEL)
    await desk.stub.DeleteVoice(pb.DeleteVoiceRequest(voice=voice))
    listed = await desk.stub.ListVoices(pb.ListVoicesRequest())

    assert torch.isfinite(in_use.prompt.mel).all()
    assert ["default"] == [each.id for each in listed.voices]
    assert "VOICE_NOT_FOUND" == (await refusal(desk.stub.GetVoice(pb.GetVoiceRequest(voice=voice))))[0]
    assert "VOICE_NOT_FOUND" == (await refusal(desk.stub.DeleteVoice(pb.DeleteVoiceRequest(voice=voice))))[0]


async def test_models_own_voice_is_not_deleted(desk: VoiceDesk) -> None:
    """It is BAD_CONFIG to try."""
    assert "BAD_CONFIG" == (await refusal(desk.stub.DeleteVoice(pb.DeleteVoiceRequest(voice="default"))))[0]


async def test_first_bytes_call_the_encoders_and_they_leave_again(desk: VoiceDesk) -> None:
    """They are on their way while the upload lasts, stay until the voice is made, and then leave by themselves."""
    await until(lambda: desk.tiers() == {Tier.DISK})
    call = desk.stub.CreateVoice()
    spec, *rest = requests(pieces_of(GOOD))
    await call.write(spec)
    await call.write(rest[0])
    await until(lambda: desk.tiers() == {Tier.HOST})
    await asyncio.sleep(0.5)  # More than they would linger.
    claimed = desk.uses()
    for each in rest[1:]:
        await call.write(each)
    await call.done_writing()
    await call
    await until(lambda: desk.tiers() == {Tier.DISK})

    assert 3 == claimed
    assert 0 == desk.uses()


BAD = {
    "empty": (b"", "there is no audio"),
    "not audio": (b"once upon a time " * 5_000, "no audio that is read here"),
    "0.1 s": (sound_file(recording(0.1)), "lasts 0.1 s"),
    "10 min": (sound_file(np.zeros(600 * 8_000, np.float32), "flac", 8_000), "longer than 60 s"),
    "silent": (sound_file(np.zeros(200_000, np.float32)), "silent"),
    "clipped": (sound_file(np.clip(9 * recording(6), -1, 1)), "clipped"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_bad_recording_is_bad_audio_and_leaves_nothing(desk: VoiceDesk, kind: str) -> None:
    """The way out is in the words; no voice is stored, no module claimed, and the service goes on."""
    data, words = BAD[kind]
    reason, message = await refusal(desk.create(pieces_of(data)))

    assert "BAD_AUDIO" == reason
    assert words in message
    assert ["default"] == list(desk.store.voices)
    assert 0 == desk.uses()
    assert not desk.store.folder.exists()


async def test_100_mb_are_refused_before_they_are_taken(desk: VoiceDesk) -> None:
    """The answer comes when the bound is passed; what follows is not read."""
    sent = 0

    def endless() -> Iterator[pb.CreateVoiceRequest]:
        nonlocal sent
        yield pb.CreateVoiceRequest(spec=pb.VoiceSpec())
        for _ in range(100):
            sent += 1
            yield pb.CreateVoiceRequest(content=bytes(1_000_000))

    def upload() -> Any:
        # By gRPC's other API: the asynchronous one tells a failed write instead of the answer, if it sees that first.
        with grpc.insecure_channel(desk.address) as channel:
            return tts_pb2_grpc.TextToSpeechServiceStub(channel).CreateVoice(endless(), timeout=WAIT_SECONDS)

    with pytest.raises(grpc.RpcError) as caught:
        await asyncio.to_thread(upload)

    reason, message = told(caught.value)
    assert "BAD_AUDIO" == reason
    assert "more than 33554432 bytes; 60 s of audio are enough" in message
    assert sent < 100


BAD_UPLOADS: dict[str, tuple[list[pb.CreateVoiceRequest], str]] = {
    "nothing": ([], "spec: is missing"),
    "content first": ([pb.CreateVoiceRequest(content=b"a")], "spec: must come first"),
    "empty message": ([pb.CreateVoiceRequest()], "spec: must come first"),
    "two specs": ([pb.CreateVoiceRequest(spec=pb.VoiceSpec())] * 2, "spec: was given twice"),
    "unknown model": (list(requests([], model="hum")), "spec.model: 'hum' makes no voices here; there is 'english'"),
    "unknown language": (list(requests([], languages=["en", "xx"])), "spec.languages: model 'english' does not speak"),
    "long name": (list(requests([], display_name="a" * 129)), "spec.display_name"),
    "name with a bell": (list(requests([], display_name="a\a")), "spec.display_name"),
    "unknown content": (list(requests([], content=99)), "spec.content: 99"),
}


@pytest.mark.parametrize("kind", BAD_UPLOADS)
async def test_bad_upload_names_its_field(desk: VoiceDesk, kind: str) -> None:
    """A spec that is missing, doubled or wrong is the caller's fault."""
    messages, words = BAD_UPLOADS[kind]
    reason, message = await refusal(desk.stub.CreateVoice(messages))

    assert words in message
    assert ("BAD_LANGUAGE" if kind == "unknown language" else "BAD_CONFIG") == reason


@pytest.mark.parametrize("pieces_sent", [0, 1, 2])
async def test_client_that_vanishes_in_mid_upload_leaves_nothing(desk: VoiceDesk, pieces_sent: int) -> None:
    """Neither a file, nor a claim, nor a place."""
    call = desk.stub.CreateVoice()
    for each in itertools.islice(requests(pieces_of(GOOD)), 1 + pieces_sent):
        await call.write(each)
    await until(lambda: desk.places.count == 1)
    call.cancel()
    await until(lambda: desk.places.count == 0)

    assert 0 == desk.uses()
    assert not desk.store.folder.exists()


async def test_client_that_vanishes_while_the_voice_is_made_leaves_nothing(
    desk: VoiceDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step under way ends, the others are not begun, and nothing is stored."""
    steps = []
    step = VoiceEncoding.step

    def noted(self: VoiceEncoding, leased: Any) -> None:
        steps.append(self)
        call.cancel()
        asyncio.run_coroutine_threadsafe(until(lambda: desk.places.count == 0), loop).result(WAIT_SECONDS)
        step(self, leased)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(VoiceEncoding, "step", noted)
    call = desk.stub.CreateVoice(requests(pieces_of(GOOD)))
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(desk.executor.submit(lambda: None).result, WAIT_SECONDS)

    assert 1 == len(steps)
    assert 0 == desk.uses()
    assert not desk.store.folder.exists()


async def test_upload_that_stands_still_is_ended(tmp_path: Path) -> None:
    """A client may not hold a place for ever."""
    async with voice_desk(tmp_path, VoiceUploadLimits(upload_seconds=0.2)) as desk:
        call = desk.stub.CreateVoice()
        await call.write(requests([])[0])
        reason, _ = await refusal(call)

        assert ("IDLE_TIMEOUT", 0) == (reason, desk.places.count)


async def test_uploads_at_once_are_bounded(tmp_path: Path) -> None:
    """The one too many is told to come back; when a place is free, it is served."""
    async with voice_desk(tmp_path, places=1) as desk:
        first = desk.stub.CreateVoice()
        await first.write(requests([])[0])
        await until(lambda: desk.places.count == 1)
        reason, _ = await refusal(desk.create(pieces_of(GOOD)))
        first.cancel()
        await until(lambda: desk.places.count == 0)

        assert "AT_CAPACITY" == reason
        assert (await desk.create(pieces_of(GOOD))).voice.id


async def test_limits_are_told(desk: VoiceDesk) -> None:
    """A client can know before it uploads what is taken."""
    limits = (await desk.stub.GetServiceInfo(pb.GetServiceInfoRequest())).limits

    assert (5, 60, 32 << 20) == (
        limits.min_voice_audio.seconds,
        limits.max_voice_audio.seconds,
        limits.voice_audio_bytes,
    )


async def test_service_without_voices_says_so(desk: VoiceDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service whose models make no voices refuses an upload at once, and the operator's way out is named."""
    monkeypatch.setattr(desk.service, "_uploads", None)
    reason, message = await refusal(desk.create(pieces_of(GOOD)))

    assert ("BAD_CONFIG", True) == (reason, "makes no voices" in message and "--model english" in message)


async def test_fault_of_a_library_is_the_engines_and_its_words_stay_here(
    desk: VoiceDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw is ENGINE_FAULT for the client, without a word of what it was, and holds nothing."""

    def fails(voice_id: str) -> None:
        raise RuntimeError("a path that is nobody's business: " + voice_id)

    monkeypatch.setattr(desk.store, "facts", fails)
    reason, words = await refusal(desk.create(pieces_of(GOOD)))
    await until(lambda: desk.uses() == 0)

    assert "ENGINE_FAULT" == reason
    assert "business" not in words


async def test_upload_while_the_service_drains_is_refused(desk: VoiceDesk) -> None:
    """A service that stops begins no voice."""
    desk.places.drain(0.0)

    assert "DRAINING" == (await refusal(desk.create(pieces_of(GOOD))))[0]
