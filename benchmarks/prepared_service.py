"""The front end as it is shipped over an engine that costs nothing; it notes when chunks were due and calls refused.

Everything between the socket and the engine is the service's own: the server's options, the door, admission, sessions,
pacing, metrics, and logging as it is set by default. Started as a process of its own, it prints its port, and when it
is told to end, what it has noted.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.prepared_engine import prepared_speech
from tts_service.admission_parts import admissions_of, speech_load
from tts_service.api.session_shell import SessionShell, Write
from tts_service.api.sessions import Sessions
from tts_service.api.speech import SpeechService
from tts_service.api.speech_watch import Watches
from tts_service.config import Admission, Limits, ServiceConfig
from tts_service.event_log import configure_logging
from tts_service.metrics import Metrics
from tts_service.process_settings import SWITCH_SECONDS, freeze_imports
from tts_service.server import SpeechServer
from tts_service.speech import protocol
from tts_service.speech.rendering import RenderEvent
from tts_service.speech.session import Session
from tts_service.speech.session_config import ModelFacts, Offer, VoiceFacts
from tts_service.speech.utterance import Outgoing
from tts_service.speech_parts import SpeechParts, speech_service

MODEL: Final = "prepared"
OFFER: Final = Offer(
    models=(
        ModelFacts(
            id=MODEL,
            description="",
            languages=("en",),
            sample_rate_hertz=24_000,
            default_voice="sine",
            changes_speaking_rate=False,
        ),
    ),
    voices={"sine": VoiceFacts(id="sine", display_name="", languages=("en",), models=(MODEL,), description="")},
)
BEAT_SECONDS: Final = 0.005
"""How often the event loop is asked how late it is."""


@dataclass(slots=True)
class Noted:
    """What the front end noted: chunks by session and offset (due, written), refusals, how late its loop was."""

    chunks: dict[str, dict[int, tuple[float, float]]] = field(default_factory=dict)
    refusals_seconds: list[float] = field(default_factory=list)
    late_seconds: list[float] = field(default_factory=list)
    collections_seconds: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0
    waited_seconds: float = 0.0
    """For a core, by the thread of the event loop."""
    wall_seconds: float = 0.0


class TimedShell(SessionShell):
    """Notes when each chunk was due and when it was written, by its offset."""

    def __init__(self, noted: dict[int, tuple[float, float]], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._noted = noted
        self._next_item: Outgoing | None = None
        self._next_due_at = 0.0

    def _rendered(self, event: RenderEvent) -> None:
        super()._rendered(event)
        self._look_at_next()

    async def _write_one(self, message: protocol.ServerMessage) -> None:
        if isinstance(message, protocol.AudioChunk):
            written_at = self._clock()
            self._noted[message.sample_offset] = (min(self._next_due_at, written_at), written_at)
        self._look_at_next()
        await super()._write_one(message)

    def _look_at_next(self) -> None:
        """Note when the next item is due, if it has just become the next one."""
        current = next(iter(self.session.utterances.open), None)
        if current is None or not current.outgoing:
            self._next_item = None
        elif current.outgoing[0] is not self._next_item:
            self._next_item = current.outgoing[0]
            self._next_due_at = self.session.outbox.piece_at(current, self._clock())


class TimedService(SpeechService):
    """The servicer, whose sessions note their chunks, and which notes what a refusal took."""

    noted: Noted

    async def StreamingSynthesize(  # type: ignore[override]  # noqa: N802  # As what it stands in for.
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> None:
        """Serve a session; note how long it took to send one away."""
        began, opened = time.monotonic(), len(self.noted.chunks)
        try:
            await super().StreamingSynthesize(request_iterator, context)
        finally:
            if context.code() and len(self.noted.chunks) == opened:
                self.noted.refusals_seconds.append(time.monotonic() - began)

    async def _session(self, session: Session, session_id: str, *arguments: Any) -> None:
        self._current = self.noted.chunks[session_id] = {}
        await super()._session(session, session_id, *arguments)

    def _shell(self, session: Session, write: Write) -> SessionShell:
        return TimedShell(self._current, session, self._engine.renderer, write, self._clock)


@contextlib.asynccontextmanager
async def _served(noted: Noted, *, places: int, own_process: bool) -> AsyncIterator[int]:
    """Serve with so many places and no queue; give the port."""
    config = ServiceConfig(limits=Limits(sessions=places), admission=Admission(by_cost=False, queue=0))
    configure_logging(config)
    sessions = Sessions(limit=places, clock=time.monotonic)
    metrics = Metrics(config, version="", is_serving=lambda: True)
    server = SpeechServer(
        sessions=sessions, address="127.0.0.1:0", clock=time.monotonic, obstacle=lambda: "nothing is loaded"
    )
    server.bind()
    await server.start()
    load = speech_load(config, on_gpu=False, models=[MODEL])
    async with prepared_speech(own_process=own_process) as engine:
        parts: Any = SpeechParts(engine=engine, offer=OFFER, searches=_Nothing(), makes=None)  # type: ignore[arg-type]  # Nothing is looked for.
        service = speech_service(
            config,
            parts,
            version="",
            sessions=sessions,
            admissions=admissions_of(config, sessions, load, metrics.admission),
            watch=Watches(metrics.speech, load),
        )
        service.__class__ = TimedService
        service.noted = noted  # type: ignore[attr-defined]  # Of the class that it has now.
        await server.open(service)
        freeze_imports()  # As the service does.
        yield server.port
        await server.drain(0.1)


class _Nothing:
    """Looks for no watermark."""


async def _serve(options: argparse.Namespace) -> None:
    noted, stop = Noted(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with _served(noted, places=options.places, own_process=options.own_process) as port:
        print(port, flush=True)
        with _collections(noted.collections_seconds), _thread_use(noted):
            beating = asyncio.create_task(_beat(noted.late_seconds))
            await stop.wait()
            beating.cancel()
    json.dump({name: getattr(noted, name) for name in Noted.__slots__}, sys.stdout)


async def _beat(late_seconds: list[float]) -> None:
    while True:
        due = time.monotonic() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        late_seconds.append(time.monotonic() - due)


@contextlib.contextmanager
def _collections(seconds: list[float]) -> Iterator[None]:
    """Note how long Python's collector stops everything."""
    began = [0.0]

    def noted(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            began[0] = time.monotonic()
        else:
            seconds.append(time.monotonic() - began[0])

    gc.callbacks.append(noted)
    try:
        yield
    finally:
        gc.callbacks.remove(noted)


@contextlib.contextmanager
def _thread_use(noted: Noted) -> Iterator[None]:
    """Note what the event loop's thread took of a core, and how long it waited for one."""
    began, before = time.monotonic(), _schedule()
    try:
        yield
    finally:
        after = _schedule()
        noted.cpu_seconds, noted.waited_seconds = (after[0] - before[0], after[1] - before[1])
        noted.wall_seconds = time.monotonic() - began


def _schedule() -> tuple[float, float]:
    ran, waited = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[:2]
    return int(ran) / 1e9, int(waited) / 1e9


@contextlib.contextmanager
def prepared_service(*, places: int, own_process: bool) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start it, and give its address and its process; `noted_by` ends it and tells what it noted."""
    command = [sys.executable, "-m", "benchmarks.prepared_service", "--places", str(places)]
    command += ["--own-process"] if own_process else []
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert child.stdout is not None
        yield f"127.0.0.1:{int(child.stdout.readline())}", child
    finally:
        child.kill()
        child.wait()


def noted_by(child: "subprocess.Popen[bytes]") -> Noted:
    """Have the service end; return what it noted."""
    child.terminate()
    output, _ = child.communicate(timeout=30.0)
    return Noted(**json.loads(output))


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=50)
    parser.add_argument("--own-process", action="store_true", help="the engine is a process of its own")
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
