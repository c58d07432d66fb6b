"""Answers speech calls while there is no speech yet: weights load, and the address is taken and health told meanwhile.

Every call gets ENGINE_STARTING, with how far that is, until handlers are there; from then on it goes to them.
"""

from collections.abc import Callable, Collection
from typing import Any

import grpc

from tts_service.api.statuses import abort_async
from tts_service.errors import Reason, ServiceError

RETRY_SECONDS = 2.0
"""When to call again: weights take seconds to minutes."""


class FrontDoor(grpc.GenericRpcHandler):
    """Stands in for a service's handlers on a server, which must have all of them before it starts.

    `service` is its full name; `obstacle` says what is awaited, in words for callers.
    """

    def __init__(self, service: str, *, obstacle: Callable[[], str]) -> None:
        self._prefix = f"/{service}/"
        self._obstacle = obstacle
        self._handlers: tuple[Any, ...] = ()
        self._refusal: Callable[[], ServiceError] | None = None

    def __repr__(self) -> str:
        return f"<FrontDoor of {self._prefix.strip('/')} {'open' if self._is_open else 'closed'}>"

    def add_generic_rpc_handlers(self, handlers: Collection[Any]) -> None:
        """Open the door to these handlers, as if this were the server."""
        self._handlers += tuple(handlers)

    @property
    def _is_open(self) -> bool:
        return bool(self._handlers) and self._refusal is None

    def refuse(self, refusal: Callable[[], ServiceError]) -> None:
        """Shut the door: calls that come now end with this; those inside go on."""
        self._refusal = refusal

    def admit(self) -> None:
        """Open the door again."""
        self._refusal = None

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of a call; None for a call of another service, or an unknown one."""
        if not handler_call_details.method.startswith(self._prefix):
            return None
        if not self._is_open:
            return grpc.stream_stream_rpc_method_handler(self._refuse)
        found = (handler.service(handler_call_details) for handler in self._handlers)
        return next((handler for handler in found if handler is not None), None)

    async def _refuse(self, request_iterator: Any, context: Any) -> None:
        del request_iterator
        starting = ServiceError(Reason.ENGINE_STARTING, self._obstacle(), retry_after_seconds=RETRY_SECONDS)
        await abort_async(context, starting if self._refusal is None else self._refusal())
