"""A whole text's speech under asyncio, read straight from its RPC: what is not read is not buffered here."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc.aio

from greenroom.tts.v1 import tts_pb2
from greenroom_client.config import SessionConfig
from greenroom_client.errors import ProtocolError
from greenroom_client.events import AudioChunk, SegmentSpoken, UtteranceResult
from greenroom_client.responses import synthesis_event
from greenroom_client.statuses import from_rpc_error
from greenroom_client.utterance_record import UtteranceRecord
from greenroom_client.values import Recording

if TYPE_CHECKING:
    SynthesisCall = grpc.aio.UnaryStreamCall[tts_pb2.SynthesizeRequest, tts_pb2.SynthesizeResponse]
    Begin = Callable[[], Awaitable[tuple[SynthesisCall, tts_pb2.SynthesizeResponse]]]


class Synthesis:
    """Audio of a whole text, to iterate over once. Leaving the loop, or `aclose`, cancels the RPC."""

    def __init__(self, begin: "Begin") -> None:
        self._begin = begin
        self._record = UtteranceRecord("")
        self._audio: AsyncGenerator[AudioChunk, None] | None = None

    @property
    def config(self) -> SessionConfig | None:
        """What it is spoken with; None until its audio begins."""
        return self._record.config

    @property
    def segments(self) -> tuple[SegmentSpoken, ...]:
        """The pieces of text spoken so far, with their samples."""
        return tuple(self._record.segments)

    @property
    def result(self) -> UtteranceResult:
        """Its figures, once its audio has been read to the end."""
        if self._record.outcome is None:
            raise ValueError("read the audio to its end first")
        return self._record.result()

    async def collect(self) -> Recording:
        """Read all of it and return it in one piece."""
        data = b"".join([chunk.data async for chunk in self])
        result = self.result
        return Recording(data=data, result=result, config=result.config)

    def __aiter__(self) -> AsyncIterator[AudioChunk]:
        if self._audio is None:
            self._audio = _spoken(self._begin, self._record)
        return self._audio

    async def aclose(self) -> None:
        """Stop, if it has not ended."""
        if self._audio is not None:
            await self._audio.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Synthesis {self._record!r}>"


# No method: a generator that knows its object would keep it alive, and a loop that is left would not be cleaned up
# before the next collection of garbage.
async def _spoken(begin: "Begin", record: UtteranceRecord) -> AsyncGenerator[AudioChunk, None]:
    call, first = await begin()
    response: object = first
    try:
        while isinstance(response, tts_pb2.SynthesizeResponse):
            chunk = record.take_in(synthesis_event(response))
            if chunk is not None:
                yield chunk
            response = await call.read()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        call.cancel()
    if record.outcome is None:
        raise ProtocolError("the service ended the speech without its figures")
