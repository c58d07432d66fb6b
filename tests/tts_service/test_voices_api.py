"""Voices on the wire: pages, tokens, unknown ids."""

import pytest

from greenroom.tts.v1 import tts_pb2 as pb
from tests.fakes.session_driver import OFFER
from tts_service.api.voices import delete_voice, get_voice, list_voices
from tts_service.errors import CallerError, Reason


def test_list_voices_in_pages_gives_each_voice_once_in_order() -> None:
    """Following the tokens lists every voice once."""
    names, token = [], ""
    while True:
        page = list_voices(OFFER, pb.ListVoicesRequest(page_size=2, page_token=token))
        names += [voice.id for voice in page.voices]
        token = page.next_page_token
        if not token:
            break

    assert ["ann", "bob", "uta"] == names


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListVoicesRequest(page_size=-1), "page_size"),
        (pb.ListVoicesRequest(page_size=1_001), "page_size"),
        (pb.ListVoicesRequest(page_token="!!"), "page_token"),
        (pb.ListVoicesRequest(page_token="YWJj"), "page_token"),
        (pb.ListVoicesRequest(page_token="/////w=="), "page_token"),
    ],
)
def test_list_voices_bad_page_is_refused(request_: pb.ListVoicesRequest, field: str) -> None:
    """A size out of range or a foreign token names its field."""
    with pytest.raises(CallerError) as raised:
        list_voices(OFFER, request_)

    assert [field] == [v.field for v in raised.value.violations]


def test_get_voice_unknown_is_not_found() -> None:
    """An unknown id is VOICE_NOT_FOUND, and a monstrous one is cut in the answer."""
    with pytest.raises(CallerError) as raised:
        get_voice(OFFER, pb.GetVoiceRequest(voice="x" * 10_000))

    assert Reason.VOICE_NOT_FOUND == raised.value.reason
    assert len(raised.value.message) < 300


def test_get_voice_describes_it() -> None:
    """A known voice comes with its languages."""
    assert ["de"] == list(get_voice(OFFER, pb.GetVoiceRequest(voice="uta")).voice.languages)


@pytest.mark.parametrize(("voice", "reason"), [("ann", Reason.BAD_CONFIG), ("zoe", Reason.VOICE_NOT_FOUND)])
def test_delete_voice_where_none_are_made_is_refused(voice: str, reason: Reason) -> None:
    """Without a folder of voices, there are only those that belong to models."""
    with pytest.raises(CallerError) as raised:
        delete_voice(OFFER, None, pb.DeleteVoiceRequest(voice=voice))

    assert reason == raised.value.reason
