"""Voices on the wire: one, or a page of them in the order of their ids."""

import base64
import binascii
from itertools import islice

from greenroom.tts.v1 import tts_pb2 as pb
from tts_service.api.responses import wire_voice
from tts_service.engine_seam import VoiceMaking
from tts_service.errors import bad_config, voice_not_found
from tts_service.speech.session_config import Offer

PAGE_DEFAULT = 100
PAGE_MAX = 1_000


def get_voice(offer: Offer, request: pb.GetVoiceRequest) -> pb.GetVoiceResponse:
    """Describe one voice; raise VOICE_NOT_FOUND."""
    voice = offer.voices.get(request.voice)
    if voice is None:
        raise voice_not_found(request.voice)
    return pb.GetVoiceResponse(voice=wire_voice(voice))


def delete_voice(offer: Offer, makes: VoiceMaking | None, request: pb.DeleteVoiceRequest) -> pb.DeleteVoiceResponse:
    """Delete a voice; raise VOICE_NOT_FOUND, or BAD_CONFIG for one that belongs to a model. May wait for the disk."""
    if makes is not None:
        makes.delete(request.voice)
        return pb.DeleteVoiceResponse()
    if request.voice not in offer.voices:
        raise voice_not_found(request.voice)
    raise bad_config("voice", "belongs to a model and cannot be deleted")


def list_voices(offer: Offer, request: pb.ListVoicesRequest) -> pb.ListVoicesResponse:
    """Return a page of voices; raise BAD_CONFIG for a bad size or a token that is not ours. May wait for the disk.

    Pages go on behind the last id of the one before, so that voices which come and go meanwhile shift no other.
    """
    if not 0 <= request.page_size <= PAGE_MAX:
        raise bad_config("page_size", f"must be between 0 and {PAGE_MAX}, not {request.page_size}")
    after = _after(request.page_token)
    size = request.page_size or PAGE_DEFAULT
    # A voice may be deleted between its listing and its look-up.
    voices = (offer.voices.get(voice_id) for voice_id in sorted(offer.voices) if voice_id > after)
    rest = list(islice((voice for voice in voices if voice is not None), size + 1))
    page, more = rest[:size], len(rest) > size
    return pb.ListVoicesResponse(
        voices=[wire_voice(voice) for voice in page], next_page_token=_token(page[-1].id) if more else ""
    )


def _token(voice_id: str) -> str:
    return base64.urlsafe_b64encode(b"v1:" + voice_id.encode()).decode()


def _after(token: str) -> str:
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        version, _, voice_id = raw.decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        version, voice_id = "", ""
    if version != "v1":
        raise bad_config("page_token", "was not made by ListVoices; leave it out for the first page")
    return voice_id
