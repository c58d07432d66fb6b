"""Governs one service: dials its socket, speaks, listens, and begins again when that ends.

It runs in a thread of its own and shares only values: the newest wish comes in, the newest view goes out, so that
neither the loop nor the service ever waits for the other. What ends a reign decides how the next one begins:

* lost or refused by the network: again after 0.5 s, doubling up to 10 s, with jitter;
* GOVERNED (another daemon is in charge): passive, asked again every 10 s;
* SUPERSEDED (another daemon took over): passive for good, until this one is restarted with --takeover.

Taking over is done once: after this daemon was let in, it comes back only as the holder that it is.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from urllib.parse import quote

import grpc
import structlog

from greenroom.memory.v1 import residency_pb2
from greenroom.memory.v1.residency_pb2_grpc import ResidencyServiceStub
from memory_daemon.link_view import LinkState, LinkView, home_device
from memory_daemon.loose_timers import loose_timers
from memory_daemon.reign import SILENCE_SECONDS, Reign
from memory_daemon.report_reading import ReportReading
from memory_daemon.residency_messages import hello_message, welcome_of
from memory_daemon.statuses import end_of_call
from memory_daemon.trim_errand import TrimErrand
from memory_daemon.types import Directive, ModuleName, Refusal, ServiceName, Tier

RETRY_FIRST_SECONDS = 0.5
RETRY_LONGEST_SECONDS = 10.0
REFUSED_RETRY_SECONDS = 10.0
PROTOCOL_VERSION = 1
MESSAGE_BYTES_MAXIMUM = 1 << 20

_CHANNEL_OPTIONS = (
    # A pool of its own, so that gRPC's back-off of an earlier channel does not delay this one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAXIMUM),
    # Without it gRPC would look for a proxy for a Unix socket.
    ("grpc.enable_http_proxy", 0),
    # A call that meets a server on its way out is tried again within gRPC, and has been seen to hang there for ever:
    # neither its deadline nor its cancellation ended it (1 to 6 in 80, grpcio 1.85; none in 450 without).
    ("grpc.enable_retries", 0),
)

_CANCELLED_HERE = "Locally cancelled"
"""How gRPC calls it when we end a stream; we do while a service is silent, and when we leave."""
_log = structlog.get_logger(__name__)


class ProtocolError(Exception):
    """The service speaks, but not as this daemon understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """How this daemon introduces itself."""

    holder_id: str
    display_name: str
    takeover: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a stream ended, and what that means for the next one."""

    state: LinkState
    reason: str


def dial(socket: Path) -> grpc.Channel:
    """Return a channel to a Unix socket, percent-encoded as gRPC's URIs are; it connects when it is used."""
    return grpc.insecure_channel(f"unix:{quote(os.fsencode(socket))}", options=_CHANNEL_OPTIONS)


def retry_seconds(state: LinkState, failures: int, jitter: float) -> float:
    """Return the rest before the next try; `jitter` from 0 to 1 spreads it over its second half."""
    doubled = RETRY_FIRST_SECONDS * 2 ** min(failures, 10)
    whole_seconds = REFUSED_RETRY_SECONDS if state is LinkState.REFUSED else min(RETRY_LONGEST_SECONDS, doubled)
    return whole_seconds * (1 + jitter) / 2


class Link:
    """One service's governor."""

    def __init__(
        self,
        *,
        socket: Path,
        greeting: Greeting,
        clock: Callable[[], float],
        jitter: Callable[[], float],
        on_change: Callable[[], None],
        silence_seconds: float = SILENCE_SECONDS,
        retry: Callable[[LinkState, int, float], float] = retry_seconds,
    ) -> None:
        self._socket = socket
        self._greeting = greeting
        self._clock = clock
        self._jitter = jitter
        self._on_change = on_change
        self._silence_seconds = silence_seconds
        self._retry = retry
        self._changed = threading.Condition()
        self._stopped = False
        self._failures = 0
        self._view = LinkView(socket=socket, service=ServiceName(socket.name.removesuffix(".sock")))
        self._shown = (self._view, self._view)
        self._reign: Reign | None = None
        self._call: grpc.Call | None = None
        self._channel: grpc.Channel | None = None
        self._errand: TrimErrand | None = None
        self._reading = ReportReading()
        self._thread = threading.Thread(target=self._run, name=f"link {socket.name}", daemon=True)

    def __repr__(self) -> str:
        return f"<Link {self._view.service} {self._view.state.value} epoch={self._view.epoch}>"

    @property
    def view(self) -> LinkView:
        """What is known of the service."""
        view, reign, errand = self._view, self._reign, self._errand
        if reign is None or errand is None:
            return view
        sent_version, trimmed = reign.sent_version, errand.answer
        heard, shown = self._shown
        if heard is not view or (shown.directive_version, shown.trimmed) != (sent_version, trimmed):
            shown = replace(view, directive_version=sent_version, trimmed=trimmed)
            self._shown = (view, shown)
        return shown

    def start(self) -> None:
        """Begin to govern."""
        self._thread.start()

    def post(self, directive: Directive | None) -> None:
        """Take the newest directive, to be sent and renewed while the service can be reached; None lets it expire."""
        reign = self._reign
        if reign is not None:
            reign.post(directive)

    def trim(self, number: int) -> None:
        """Ask the service once for what its allocator keeps; the view has the answer, under that number."""
        errand = self._errand
        if errand is not None:
            errand.ask(number)

    def stop(self) -> None:
        """End the stream and the tries, without a word to the service: its directive expires."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._cancel()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        for _ in takewhile(self._may_try, count()):
            ending = self._govern()
            if not self._stopped:
                self._note_ending(ending)
                self._rest(self._retry(ending.state, self._failures, self._jitter()))
                self._failures += 1

    def _may_try(self, _: int) -> bool:
        return not self._stopped and self._view.state is not LinkState.SUPERSEDED

    def _govern(self) -> Ending:
        """Hold one stream until it ends, however it ends."""
        with loose_timers():
            channel = dial(self._socket)
        hello = hello_message(self._greeting.holder_id, self._greeting.display_name, takeover=self._greeting.takeover)
        reign = Reign(hello=hello, clock=self._clock, silence_seconds=self._silence_seconds, on_silence=self._cancel)
        try:
            with loose_timers():
                call = ResidencyServiceStub(channel).Govern(reign.requests())
            with self._changed:
                self._call, self._channel, self._reign = call, channel, reign
                self._errand = TrimErrand(
                    channel=channel, requested_by=self._greeting.display_name, on_answer=self._on_change
                )
            if self._stopped:
                call.cancel()
            for response in call:
                self._hear(reign, response)
        except (grpc.RpcError, ProtocolError) as error:
            return _ending_of(error)
        except Exception:  # noqa: BLE001 - A thread that dies would leave a view that says "governing" for ever.
            _log.exception("link_failed", service=self._view.service)
            return Ending(state=LinkState.CONNECTING, reason="the daemon failed; its log says why")
        finally:
            reign.close()
            self._call = self._channel = self._reign = self._errand = None
            channel.close()
        return Ending(state=LinkState.CONNECTING, reason="the service ended the stream")

    def _hear(self, reign: Reign, response: residency_pb2.GovernResponse) -> None:
        reign.hear()
        match response.WhichOneof("response"):
            case "welcome":
                self._hear_welcome(reign, response.welcome)
            case "report":
                self._set(replace(self._view, report=self._reading.value_of(response.report)))
            case "nack":
                words = response.nack.error.message or "it did not say why"
                reign.refuse(response.nack.version)
                self._set(replace(self._view, refusal=Refusal(version=response.nack.version, reason=words)))
            case _:
                # An ack says nothing that the next report does not say; anything else is a newer service's word.
                pass

    def _hear_welcome(self, reign: Reign, message: residency_pb2.Welcome) -> None:
        welcome = welcome_of(message)
        if welcome.protocol_version != PROTOCOL_VERSION or welcome.epoch < 1:
            raise ProtocolError(f"it speaks protocol {welcome.protocol_version}, this daemon {PROTOCOL_VERSION}")
        self._failures = 0
        self._greeting = replace(self._greeting, takeover=False)
        self._set(
            replace(
                self._view,
                service=ServiceName(welcome.service_name) or self._view.service,
                state=LinkState.GOVERNING,
                reason="",
                instance_id=welcome.instance_id,
                epoch=welcome.epoch,
                device=home_device(welcome.devices),
                report=welcome.report,
                refusal=None,
            )
        )
        reign.begin(welcome.epoch)
        _log.info("service_governed", service=self._view.service, epoch=welcome.epoch, socket=str(self._socket))

    def _note_ending(self, ending: Ending) -> None:
        before = self._view
        self._set(replace(before, state=ending.state, reason=ending.reason, epoch=0, directive_version=0, refusal=None))
        if (before.state, before.reason) != (ending.state, ending.reason):
            _log.warning("service_not_governed", service=before.service, state=ending.state.value, reason=ending.reason)

    def _set(self, view: LinkView) -> None:
        """Show a new view; the loop is woken only for what could change a decision."""
        telling = _telling(view) != _telling(self._view)
        self._view = view
        if telling:
            self._on_change()

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, seconds)

    def _cancel(self) -> None:
        """End the stream; the channel too, because a stream that hangs within gRPC heeds nothing else."""
        call, channel = self._call, self._channel
        if call is not None:
            call.cancel()
        if channel is not None:
            channel.close()


def _telling(view: LinkView) -> tuple[LinkState, int, int, tuple[tuple[ModuleName, Tier], ...]]:
    modules = () if view.report is None else view.report.modules
    refused_version = 0 if view.refusal is None else view.refusal.version
    return view.state, view.epoch, refused_version, tuple((status.module, status.tier) for status in modules)


def _ending_of(error: Exception) -> Ending:
    code, reason, words = end_of_call(error)
    if reason == "SUPERSEDED":
        return Ending(state=LinkState.SUPERSEDED, reason="another daemon took over")
    if reason == "GOVERNED":
        _log.warning("governed_by_another", error=words)
        return Ending(state=LinkState.REFUSED, reason="another daemon governs it")
    if words.startswith(_CANCELLED_HERE):
        return Ending(state=LinkState.CONNECTING, reason="it said nothing for too long, dialling again")
    return Ending(state=LinkState.CONNECTING, reason=f"{code}: {words}" if code else words)
