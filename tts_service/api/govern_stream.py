"""The listening half of one governor's stream: a thread that takes messages, applies them and queues the answers."""

from collections.abc import Callable, Iterator

import grpc
import structlog

from greenroom.memory.v1 import residency_pb2 as pb
from tts_service.api import residency_messages as messages
from tts_service.api.control_outbox import ControlOutbox
from tts_service.errors import CallerError, GreenroomError, Reason, ServiceError, bad_config
from tts_service.residency.governance import Governance

_log = structlog.get_logger(__name__)


class GovernStream:
    """Lets one governor in, takes its directives, and lets it out when its stream ends, in whatever way."""

    def __init__(
        self,
        *,
        governance: Governance,
        outbox: ControlOutbox[pb.GovernResponse],
        welcome: Callable[[int], pb.GovernResponse],
    ) -> None:
        self._governance = governance
        self._outbox = outbox
        self._welcome = welcome
        self._epoch = 0

    def __repr__(self) -> str:
        return f"<GovernStream epoch={self._epoch} {self._outbox!r}>"

    def listen(self, requests: Iterator[pb.GovernRequest]) -> None:
        """Take messages until the stream ends, and see to it that it does."""
        try:
            self._let_in(next(requests, None))
            for request in requests:
                if not self._outbox.reply(self._answer(request)):
                    break
            self._outbox.close()
        except grpc.RpcError:
            # The client is gone; nobody is left to be told why.
            self._outbox.close()
        except GreenroomError as error:
            self._outbox.close(error)
        except Exception:  # noqa: BLE001 - a thread has nobody above it: the stream is told instead.
            _log.exception("govern_stream_failed", epoch=self._epoch)
            self._outbox.close(ServiceError(Reason.ENGINE_FAULT, "the service failed; its log says more"))
        finally:
            if self._epoch:
                self._governance.detach(self._epoch)

    def _let_in(self, request: pb.GovernRequest | None) -> None:
        if request is None or request.WhichOneof("request") != "hello":
            raise CallerError(Reason.CONFIG_NOT_FIRST, "the first message must be a hello")
        greeting = messages.hello_of(request.hello)
        self._epoch = self._governance.attach(greeting, on_superseded=self._end_superseded)
        self._outbox.open(self._welcome(self._epoch))

    def _end_superseded(self) -> None:
        self._outbox.close(CallerError(Reason.SUPERSEDED, f"another governor has taken epoch {self._epoch} over"))

    def _answer(self, request: pb.GovernRequest) -> pb.GovernResponse:
        match request.WhichOneof("request"):
            case "directive":
                return self._direct(request.directive)
            case "hello":
                raise CallerError(Reason.CONFIG_NOT_FIRST, "a stream has one hello, its first message")
            case _:
                raise bad_config("request", "must be a directive")

    def _direct(self, message: pb.Directive) -> pb.GovernResponse:
        try:
            self._governance.direct(messages.directive_of(message), stream_epoch=self._epoch)
        except GreenroomError as error:
            _log.warning("directive_refused", epoch=self._epoch, version=message.version, reason=error.reason.value)
            return messages.nack(message.version, error)
        except Exception as error:  # noqa: BLE001 - a directive that breaks the manager must not end the reign.
            _log.exception("directive_failed", epoch=self._epoch, version=message.version)
            return messages.nack(message.version, error)
        return messages.ack(message.version)
