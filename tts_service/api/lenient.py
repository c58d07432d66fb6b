"""Keeps undecodable messages from ending as gRPC's own INTERNAL error without a reason.

gRPC decodes before any handler runs. Here a message that does not decode (invalid UTF-8, garbage) is decoded to an
error instead, so that it is answered like other bad input: a session gets the error in the message's place and refuses
that message, every other RPC ends with it. What a handler did not expect ends as ENGINE_FAULT.

The control server's handlers run in threads and answer for what they did not expect themselves.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from tts_service.api.statuses import abort, abort_async
from tts_service.errors import CallerError, Reason


def without_bad_requests(server: grpc.aio.Server) -> Any:
    """Return a registrar for `add_..._to_server` whose handlers hear of undecodable messages."""
    return _Registrar(server, _wrapped)


def without_bad_requests_in_threads(server: grpc.Server) -> Any:
    """Return the same for a server whose handlers run in threads."""
    return _Registrar(server, _wrapped_in_threads)


class _Registrar:
    """Stands in for the server while handlers are registered."""

    def __init__(self, server: grpc.aio.Server | grpc.Server, wrapped: Callable[[Any], Any]) -> None:
        self._server = server
        self._wrapped = wrapped

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Ignore the first of the two forms in which generated code adds handlers; the other one is enough."""
        del handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register every method of a service, wrapped."""
        wrapped = {name: self._wrapped(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))


def _wrapped(handler: Any) -> Any:
    decode = functools.partial(_decoded, handler.request_deserializer)
    encode = handler.response_serializer
    if handler.request_streaming and inspect.isasyncgenfunction(handler.stream_stream):
        return grpc.stream_stream_rpc_method_handler(_yielding(handler.stream_stream), decode, encode)
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(_streaming(handler.stream_stream, in_session=True), decode, encode)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_streaming(handler.stream_unary, in_session=False), decode, encode)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(_single(handler.unary_stream), decode, encode)
    return grpc.unary_unary_rpc_method_handler(_single(handler.unary_unary), decode, encode)


def _wrapped_in_threads(handler: Any) -> Any:
    decode = functools.partial(_decoded, handler.request_deserializer)
    encode = handler.response_serializer
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(_streaming_in_thread(handler.stream_stream), decode, encode)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_streaming_in_thread(handler.stream_unary), decode, encode)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(_single_in_thread(handler.unary_stream), decode, encode)
    return grpc.unary_unary_rpc_method_handler(_single_in_thread(handler.unary_unary), decode, encode)


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except (DecodeError, UnicodeDecodeError) as error:
        message = f"the message cannot be decoded: {error}; text must be valid UTF-8"
        return CallerError(Reason.BAD_CONFIG, message)


def _streaming(behaviour: Callable[[AsyncIterator[Any], Any], Any], *, in_session: bool) -> Any:
    async def call(request_iterator: AsyncIterator[Any], context: Any) -> Any:
        requests = request_iterator if in_session else _checked(request_iterator)
        return await _answered(behaviour(requests, context), context)

    return call


def _yielding(behaviour: Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]) -> Any:
    async def written(request_iterator: AsyncIterator[Any], context: Any) -> None:
        async for response in behaviour(_checked(request_iterator), context):
            await context.write(response)

    async def call(request_iterator: AsyncIterator[Any], context: Any) -> None:
        await _answered(written(request_iterator, context), context)

    return call


def _streaming_in_thread(behaviour: Callable[[Iterator[Any], Any], Any]) -> Any:
    def call(request_iterator: Iterator[Any], context: grpc.ServicerContext) -> Any:
        return behaviour(_checked_in_thread(request_iterator), context)

    return call


def _single_in_thread(behaviour: Callable[[Any, Any], Any]) -> Any:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(request, CallerError):
            abort(context, request)
        return behaviour(request, context)

    return call


def _single(behaviour: Callable[[Any, Any], Any]) -> Any:
    async def call(request: Any, context: Any) -> Any:
        if isinstance(request, CallerError):
            await abort_async(context, request)
        return await _answered(behaviour(request, context), context)

    return call


async def _answered(behaviour: Awaitable[Any], context: Any) -> Any:
    """Await a handler; whatever it did not expect becomes ENGINE_FAULT and a line in the log."""
    try:
        return await behaviour
    except grpc.aio.BaseError:
        raise
    except Exception as error:  # noqa: BLE001  # The last line of defence: no exception's text leaves the service.
        await abort_async(context, error)


async def _checked(request_iterator: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in request_iterator:
        if isinstance(request, CallerError):
            raise request
        yield request


def _checked_in_thread(request_iterator: Iterator[Any]) -> Iterator[Any]:
    for request in request_iterator:
        if isinstance(request, CallerError):
            raise request
        yield request
