"""Keeps undecodable messages from ending as gRPC's own INTERNAL error without a reason.

gRPC decodes before any handler runs. Here a message that does not decode (invalid UTF-8, garbage) is decoded to an
error instead, and the call ends with it like with other bad input.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from memory_daemon.errors import DaemonError, Reason
from memory_daemon.statuses import errors_as_statuses


def without_bad_requests(server: grpc.Server) -> Any:
    """Return a registrar for `add_..._to_server` whose handlers never meet undecodable messages."""
    return _Registrar(server)


class _Registrar:
    """Stands in for the server while handlers are registered."""

    def __init__(self, server: grpc.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Ignore the first of the two forms in which generated code adds handlers; the other one is enough."""
        del handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register every method of a service, wrapped."""
        wrapped = {name: _wrapped(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))


def _wrapped(handler: Any) -> Any:
    decode = functools.partial(_decoded, handler.request_deserializer)
    encode = handler.response_serializer
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_streaming(handler.stream_unary), decode, encode)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(_single(handler.unary_stream), decode, encode)
    return grpc.unary_unary_rpc_method_handler(_single(handler.unary_unary), decode, encode)


def _decoded(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except (DecodeError, UnicodeDecodeError) as error:
        words = f"the message cannot be decoded: {error}; text must be valid UTF-8"
        return DaemonError(Reason.BAD_CONFIG, words)


def _single(behaviour: Callable[[Any, Any], Any]) -> Any:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(request, DaemonError):
            with errors_as_statuses(context):
                raise request
        return behaviour(request, context)

    return call


def _streaming(behaviour: Callable[[Iterator[Any], Any], Any]) -> Any:
    def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        return behaviour(_checked(requests), context)

    return call


def _checked(requests: Iterator[Any]) -> Iterator[Any]:
    for request in requests:
        if isinstance(request, DaemonError):
            raise request
        yield request
