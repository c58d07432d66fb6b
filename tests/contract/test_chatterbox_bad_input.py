"""Bad input to a service with Chatterbox: the answers of the tables, and the session lives where it should."""

import pickle
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom_client.errors import InvalidRequestError
from greenroom_client.sync import Client
from greenroom_client.values import VoiceContent
from tests.fakes.recordings import recording, sound_file
from tests.fakes.wire import Request, config, converse, end, failure, fields, kinds, reason, text

BAD_CONFIG = ("INVALID_ARGUMENT", "BAD_CONFIG")
BAD_LANGUAGE = ("INVALID_ARGUMENT", "BAD_LANGUAGE")
NO_VOICE = ("NOT_FOUND", "VOICE_NOT_FOUND")

BAD_SAMPLING: Sequence[tuple[dict[str, Any], str]] = [
    ({"temperature": 5.1}, "sampling.temperature"),
    ({"temperature": 0.0}, "sampling.temperature"),
    ({"temperature": float("nan")}, "sampling.temperature"),
    ({"top_p": 1.1}, "sampling.top_p"),
    ({"min_p": -0.1}, "sampling.min_p"),
    ({"repetition_penalty": 0.0}, "sampling.repetition_penalty"),
    ({"cfg_weight": float("inf")}, "sampling.cfg_weight"),
    ({"exaggeration": 2.1}, "sampling.exaggeration"),
    ({"max_segment_tokens": 0}, "sampling.max_segment_tokens"),
    ({"max_segment_tokens": 1_001}, "sampling.max_segment_tokens"),
    ({"top_k": 10}, "sampling.top_k"),
    ({"speaking_rate": 1.5}, "sampling.speaking_rate"),
]
"""Out of range, no numbers, and what the English model does not have."""


def errors(responses: list[pb.StreamingSynthesizeResponse]) -> list[pb.UtteranceError]:
    """Return the utterance errors."""
    return [each.utterance_error for each in responses if each.WhichOneof("response") == "utterance_error"]


def update(path: str, wanted: pb.SessionConfig) -> Request:
    """Return a change of one field."""
    return Request(update=pb.UpdateConfig(config=wanted, update_mask=FieldMask(paths=[path])))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        *(({"sampling": pb.Sampling(**settings)}, BAD_CONFIG) for settings, _ in BAD_SAMPLING),
        ({"language": "fr"}, BAD_LANGUAGE),
        ({"language": "tlh"}, BAD_LANGUAGE),
        ({"model": "turbo"}, BAD_CONFIG),
        ({"voice": "v" + "0" * 32}, NO_VOICE),
        ({"voice": "../voices/default"}, NO_VOICE),
    ],
)
async def test_session_that_asks_for_what_the_model_has_not_ends_with_its_reason(
    english: Any, wanted: dict[str, Any], expected: tuple[str, str]
) -> None:
    """In the config, a value out of its range or not the model's ends the stream with the status of the table."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await converse(english, [config(**wanted)])

    assert expected == failure(raised.value)


async def test_updates_with_bad_settings_are_refused_one_by_one_and_the_session_speaks_on(english: Any) -> None:
    """Later on, each is an UtteranceError that names its field, changes nothing and closes nothing."""
    updates = [update(path, pb.SessionConfig(sampling=pb.Sampling(**settings))) for settings, path in BAD_SAMPLING]
    updates.append(update("language", pb.SessionConfig(language="tlh")))
    responses = await converse(english, [config(), *updates, text("u", "Still here."), end("u")])
    refused = errors(responses)

    assert [*([path] for _, path in BAD_SAMPLING), ["language"]] == [fields(each.error) for each in refused]
    assert [*(["BAD_CONFIG"] * len(BAD_SAMPLING)), "BAD_LANGUAGE"] == [reason(each.error) for each in refused]
    assert not any(each.closed or each.utterance_id for each in refused)
    assert "utterance_done" in kinds(responses)


async def test_tag_on_a_model_without_tags_ends_its_utterance_and_no_other(english: Any) -> None:
    """English would read "[laugh]" out: the utterance fails and says so; what is not a tag is text like any other."""
    requests = [
        config(),
        *(text("u", "It was so funny [laugh] that I cried."), end("u")),
        *(text("v", "He wrote [sic] in the margin."), end("v")),
    ]
    responses = await converse(english, requests)
    (failed,) = errors(responses)

    assert ("u", True, "BAD_CONFIG") == (failed.utterance_id, failed.closed, reason(failed.error))
    assert "[laugh]" in failed.error.message
    assert ["v"] == [r.utterance_done.utterance_id for r in responses if r.WhichOneof("response") == "utterance_done"]


async def test_segments_cut_by_the_token_limit_are_told_at_the_end(english: Any) -> None:
    """With few tokens allowed, UtteranceDone names every segment that was cut and why; else it names none."""
    first, second = "This is the first sentence of two. ", "And this one is the second."

    async def done(**settings: Any) -> pb.UtteranceDone:
        requests = [config(sampling=pb.Sampling(seed=1, **settings)), text("u", first + second), end("u")]
        return (await converse(english, requests))[-1].utterance_done

    cut, whole = await done(max_segment_tokens=7), await done()

    assert [(0, len(first)), (len(first), len(first + second))] == [
        (each.text_start, each.text_end) for each in cut.guarded_segments
    ]
    assert {pb.SPEECH_GUARD_TOKEN_LIMIT} == {each.guard for each in cut.guarded_segments}
    assert (14, pb.FINISH_REASON_COMPLETE) == (cut.speech_tokens, cut.finish_reason)
    assert ([], pb.FINISH_REASON_COMPLETE) == (list(whole.guarded_segments), whole.finish_reason)
    assert whole.speech_tokens > 14


@pytest.mark.parametrize("words", ["", " \n", "?!...", "\u200b"])
async def test_text_with_nothing_to_say_has_no_speech_tokens(english: Any, words: str) -> None:
    """It ends as EMPTY with a short silence, and no model was asked."""
    done = (await converse(english, [config(), text("u", words), end("u")]))[-1].utterance_done

    assert (pb.FINISH_REASON_EMPTY, 4_800, 0) == (done.finish_reason, done.samples, done.speech_tokens)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no audio"),
        (b"This is text. " * 100, "read"),
        (sound_file(recording(0.1)), "lasts 0.1 s"),
        (sound_file(0 * recording(6.0)), "silent"),
        (sound_file(20 * recording(6.0)), "clipped"),
        (sound_file(recording(61.0), "flac", 8_000), "longer than 60 s"),
        (bytes(33 * 1024 * 1024), "33554432 bytes"),
    ],
    ids=["empty", "text", "short", "silent", "clipped", "long", "large"],
)
def test_bad_recording_is_refused_with_what_is_wrong_and_makes_no_voice(
    client: Client, data: bytes, words: str
) -> None:
    """Every bad upload is BAD_AUDIO, says why, and leaves the voices as they were."""
    before = client.voices()
    with pytest.raises(InvalidRequestError) as raised:
        client.create_voice(data)

    assert ("INVALID_ARGUMENT", "BAD_AUDIO") == (raised.value.code, raised.value.reason)
    assert words in raised.value.message
    assert before == client.voices()


def test_bad_conditionals_are_refused_and_make_no_voice(client: Client) -> None:
    """What is no file of upstream's is BAD_CONFIG, and nothing in it is run."""
    before = client.voices()
    with pytest.raises(InvalidRequestError) as raised:
        client.create_voice(pickle.dumps(exit), content=VoiceContent.UPSTREAM_CONDITIONALS)

    assert ("INVALID_ARGUMENT", "BAD_CONFIG") == (raised.value.code, raised.value.reason)
    assert before == client.voices()
