"""A bare client for contract tests: it says exactly what it is told, right or wrong."""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from greenroom.tts.v1 import tts_pb2 as pb

Request = pb.StreamingSynthesizeRequest
ANSWER_SECONDS = 30.0


def config(**fields: Any) -> Request:
    """Return a first message."""
    return Request(config=pb.SessionConfig(**{"pacing": pb.PACING_NONE, **fields}))


def text(utterance_id: str, words: str) -> Request:
    """Return a piece of text."""
    return Request(text=pb.TextChunk(utterance_id=utterance_id, text=words))


def flush(utterance_id: str, flush_id: str = "") -> Request:
    """Return a flush."""
    return Request(flush=pb.Flush(utterance_id=utterance_id, flush_id=flush_id))


def end(utterance_id: str) -> Request:
    """Return an end."""
    return Request(end_utterance=pb.EndUtterance(utterance_id=utterance_id))


def cancel(utterance_id: str, **fields: Any) -> Request:
    """Return a cancel."""
    return Request(cancel=pb.CancelUtterance(utterance_id=utterance_id, **fields))


async def converse(
    stub: Any, requests: Iterable[Request], *, close: bool = True
) -> list[pb.StreamingSynthesizeResponse]:
    """Say everything, half-close, and return every answer; raise the status that the stream ends with."""
    call = stub.StreamingSynthesize(timeout=ANSWER_SECONDS)
    for request in requests:
        await call.write(request)
    if close:
        await call.done_writing()
    return [response async for response in call]


async def until(call: Any, kind: str) -> pb.StreamingSynthesizeResponse:
    """Read answers up to the first of a kind, and return it."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            response = await call.read()
            assert response is not grpc.aio.EOF, f"the stream ended before {kind}"
            if response.WhichOneof("response") == kind:
                return response


async def rest_of(call: Any) -> list[pb.StreamingSynthesizeResponse]:
    """Read all answers that are still to come."""
    responses = []
    async with asyncio.timeout(ANSWER_SECONDS):
        while (response := await call.read()) is not grpc.aio.EOF:
            responses.append(response)
    return responses


def kinds(responses: Iterable[pb.StreamingSynthesizeResponse]) -> list[str]:
    """Return the kinds of answers, runs of audio as one."""
    names: list[str] = []
    for response in responses:
        name = response.WhichOneof("response") or ""
        if name != "audio" or names[-1:] != ["audio"]:
            names.append(name)
    return names


def audio(responses: Iterable[pb.StreamingSynthesizeResponse], utterance_id: str | None = None) -> bytes:
    """Return all audio bytes, or one utterance's."""
    return b"".join(
        r.audio.data
        for r in responses
        if r.WhichOneof("response") == "audio" and utterance_id in {None, r.audio.utterance_id}
    )


def failure(error: grpc.RpcError) -> tuple[str, str]:
    """Return a failed call's code and reason."""
    status = rpc_status.from_call(error)
    code = error.code().name  # type: ignore[attr-defined]  # Every RpcError of a call has a code.
    return code, reason(status) if status is not None else ""


def reason(status: status_pb2.Status) -> str:
    """Return the reason in a status."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            assert info.domain == "greenroom"
            return info.reason
    return ""


def fields(status: status_pb2.Status) -> list[str]:
    """Return the fields at fault in a status."""
    bad = error_details_pb2.BadRequest()
    return [v.field for detail in status.details if detail.Unpack(bad) for v in bad.field_violations]
