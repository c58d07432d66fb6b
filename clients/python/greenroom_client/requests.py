"""What a client says in a session, as the wire's messages."""

from collections.abc import Iterable

from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.tts.v1 import tts_pb2
from greenroom_client.config import WIRE_PATHS, SessionConfig
from greenroom_client.config_messages import config_message

Request = tts_pb2.StreamingSynthesizeRequest


def config_request(config: SessionConfig) -> Request:
    """Return the first message of a session."""
    return Request(config=config_message(config))


def text_request(utterance_id: str, text: str) -> Request:
    """Return a piece of text."""
    return Request(text=tts_pb2.TextChunk(utterance_id=utterance_id, text=text))


def flush_request(utterance_id: str, flush_id: str) -> Request:
    """Return a flush."""
    return Request(flush=tts_pb2.Flush(utterance_id=utterance_id, flush_id=flush_id))


def end_request(utterance_id: str) -> Request:
    """Return the end of an utterance's text."""
    return Request(end_utterance=tts_pb2.EndUtterance(utterance_id=utterance_id))


def cancel_request(utterance_id: str, heard_samples: int | None) -> Request:
    """Return an interruption."""
    return Request(cancel=tts_pb2.CancelUtterance(utterance_id=utterance_id, heard_samples=heard_samples))


def playback_request(utterance_id: str, played_samples: int) -> Request:
    """Return how far the listener is."""
    return Request(playback=tts_pb2.PlaybackPosition(utterance_id=utterance_id, played_samples=played_samples))


def update_request(config: SessionConfig, changed: Iterable[str]) -> Request:
    """Return a change of the named fields to their values in `config`."""
    mask = FieldMask(paths=sorted(WIRE_PATHS[name] for name in changed))
    return Request(update=tts_pb2.UpdateConfig(config=config_message(config), update_mask=mask))
