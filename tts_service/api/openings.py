"""How speech begins: a session's first message, or one whole text."""

import asyncio
from collections.abc import AsyncIterator

from greenroom.tts.v1 import tts_pb2 as pb
from tts_service.errors import CallerError, Reason, ServiceError, bad_config
from tts_service.speech import protocol

WHOLE_TEXT_ID = "text"
"""The utterance's id in Synthesize, where the client names none."""


async def first_config(
    request_iterator: AsyncIterator[pb.StreamingSynthesizeRequest | CallerError], timeout_seconds: float
) -> pb.SessionConfig:
    """Wait for a session's config. Raises CONFIG_NOT_FIRST, IDLE_TIMEOUT, or what is wrong with the message."""
    try:
        async with asyncio.timeout(timeout_seconds):
            first = await anext(aiter(request_iterator), None)
    except TimeoutError:
        raise ServiceError(Reason.IDLE_TIMEOUT, f"no config came within {timeout_seconds:g} s") from None
    if isinstance(first, CallerError):
        raise first
    if first is None or first.WhichOneof("request") != "config":
        raise CallerError(Reason.CONFIG_NOT_FIRST, "the first message of a session must be its config")
    return first.config


def check_whole_text(text: str, *, most_bytes: int) -> None:
    """Raise BAD_CONFIG or TEXT_TOO_LONG for a text that cannot be spoken as a whole."""
    if not text:
        raise bad_config("text", "is empty; give 1 byte to 64 KiB")
    if len(text.encode()) > most_bytes:
        raise bad_config("text", f"holds more than {most_bytes} bytes", Reason.TEXT_TOO_LONG)


async def whole_utterance(text: str) -> AsyncIterator[protocol.ClientMessage]:
    """Say what a client would that has only this one text."""
    yield protocol.TextChunk(utterance_id=WHOLE_TEXT_ID, text=text)
    yield protocol.EndUtterance(utterance_id=WHOLE_TEXT_ID)
