"""Voices on the wire: pages, tokens, unknown ids."""

from collections.abc import Iterator, Mapping

import pytest

from greenroom.tts.v1 import tts_pb2 as pb
from tests.fakes.session_driver import OFFER
from tts_service.api.voices import delete_voice, get_voice, list_voices
from tts_service.errors import CallerError, Reason
from tts_service.speech.session_config import Offer, VoiceFacts


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


class _GoingVoices(Mapping[str, VoiceFacts]):
    """Voices of which one goes as soon as all have been listed."""

    def __init__(self, voices: Mapping[str, VoiceFacts], going: str) -> None:
        self._voices = dict(voices)
        self._going = going

    def __getitem__(self, voice_id: str) -> VoiceFacts:
        return self._voices[voice_id]

    def __iter__(self) -> Iterator[str]:
        yield from tuple(self._voices)
        self._voices.pop(self._going, None)

    def __len__(self) -> int:
        return len(self._voices)


@pytest.mark.parametrize("page_size", [0, 1, 2])
def test_voice_deleted_while_it_is_listed_is_left_out(page_size: int) -> None:
    """Another call, or another process, may delete a voice between its listing and its look-up."""
    offer = Offer(models=OFFER.models, voices=_GoingVoices(OFFER.voices, "bob"))
    names, token = [], ""
    while True:
        page = list_voices(offer, pb.ListVoicesRequest(page_size=page_size, page_token=token))
        names += [voice.id for voice in page.voices]
        token = page.next_page_token
        if not token:
            break

    assert ["ann", "uta"] == names


def test_page_goes_on_behind_a_voice_that_is_gone() -> None:
    """A token names a place and no voice: the last one of a page may be deleted before the next page is asked for."""
    token = list_voices(OFFER, pb.ListVoicesRequest(page_size=2)).next_page_token
    left = Offer(models=OFFER.models, voices={name: OFFER.voices[name] for name in ("ann", "uta")})

    assert ["uta"] == [v.id for v in list_voices(left, pb.ListVoicesRequest(page_token=token)).voices]
