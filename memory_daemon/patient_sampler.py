"""Asks for GPUs' memory in a thread of its own, so that a driver that hangs stops its readings and nothing else.

NVML knows no time limit: a call can hang for seconds, as it does when a GPU falls off the bus or another program holds
the driver's lock. A reading that is not there in time is a failed one. While that call is out nobody waits for it
again, and what it brings in the end is thrown away: it is old. Host memory needs no such care: the kernel answers.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeAlias, TypeVar

from memory_daemon.gpu_memory import GpuEvent, ProcessUse
from memory_daemon.types import HOST, DeviceId, Fault, Sample, SampleFailed

PATIENCE_SECONDS = 0.2
"""A reading takes 0.01 ms, beginning the library anew 20 ms."""
START_PATIENCE_SECONDS = 30.0
"""Without NVIDIA's persistence mode the first call loads the driver, which takes seconds on a machine of eight GPUs."""

Answer = TypeVar("Answer")
_Told: TypeAlias = tuple[Answer | None, Exception | None]


class BlockingSampler(Protocol):
    """Reads memory, however long that takes."""

    def gpus(self) -> tuple[DeviceId, ...] | SampleFailed:
        """Return the GPUs there are, or why that cannot be told."""

    def sample(self, device: DeviceId) -> Sample:
        """Read one device's memory now."""

    def processes(self, device: DeviceId) -> tuple[ProcessUse, ...]:
        """Return who uses a device."""

    def events(self) -> tuple[GpuEvent, ...]:
        """Return what has happened to devices."""

    def close(self) -> None:
        """Let the library go."""


class PatientSampler:
    """A sampler that answers within its patience, whatever the driver does."""

    def __init__(
        self,
        *,
        sampler: BlockingSampler,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        patience_seconds: float = PATIENCE_SECONDS,
        start_patience_seconds: float = START_PATIENCE_SECONDS,
    ) -> None:
        self._sampler = sampler
        self._clock = clock
        self._unix_clock = unix_clock
        self._patience_seconds = patience_seconds
        self._start_patience_seconds = start_patience_seconds
        self._errands: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._late: SimpleQueue[Any] | None = None
        self._collected: SimpleQueue[GpuEvent] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="readings", daemon=True)

    def __repr__(self) -> str:
        return f"<PatientSampler {'waiting for the driver' if self.hangs else 'ready'} | {self._sampler!r}>"

    @property
    def hangs(self) -> bool:
        """Whether a call that was given up is still out."""
        return self._late is not None and self._late.empty()

    def start(self) -> None:
        """Begin the thread."""
        self._thread.start()

    def gpus(self) -> tuple[DeviceId, ...] | SampleFailed:
        """Return the GPUs there are, or why that cannot be told; waits for a driver that is being loaded."""
        found = self._ask(self._sampler.gpus, self._start_patience_seconds)
        return self._no_answer(DeviceId("nvml"), self._start_patience_seconds) if found is None else found

    def sample(self, device: DeviceId) -> Sample:
        """Read one device's memory now, or say that there was no answer."""
        if device == HOST:
            return self._sampler.sample(device)
        sample = self._ask(lambda: self._read(device), self._patience_seconds)
        return self._no_answer(device, self._patience_seconds) if sample is None else sample

    def processes(self, device: DeviceId) -> tuple[ProcessUse, ...]:
        """Return who uses a device; nothing if that is not told in time."""
        return self._ask(lambda: self._sampler.processes(device), self._patience_seconds) or ()

    def events(self) -> tuple[GpuEvent, ...]:
        """Return what had happened by the last readings; waits for nobody."""
        return tuple(self._collected.get() for _ in range(self._collected.qsize()))

    def close(self) -> None:
        """Let the library go, unless it hangs: then it is left to the end of the process."""
        if self._thread.is_alive():
            self._send(self._sampler.close)
            self._errands.put(None)
            self._thread.join(self._patience_seconds)

    def _read(self, device: DeviceId) -> Sample:
        """Read, and collect what has happened, in the thread that reads: while it does nobody else is awake.

        Told first and collected afterwards, both threads would be awake at once, and wait for each other.
        """
        sample = self._sampler.sample(device)
        for event in self._sampler.events():
            self._collected.put(event)
        return sample

    def _ask(self, question: Callable[[], Answer], patience_seconds: float) -> Answer | None:
        """Return the answer; None if there is none in time, or if an earlier question hangs."""
        if self.hangs:
            return None
        told = self._send(question)
        try:
            answer, error = told.get(timeout=patience_seconds)
        except Empty:
            self._late = told
            return None
        if error is not None:
            raise error
        return answer

    def _send(self, question: Callable[[], Answer]) -> "SimpleQueue[_Told[Answer]]":
        """Have the thread answer a question; the queue will hold that one answer, or the failure."""
        told: SimpleQueue[_Told[Answer]] = SimpleQueue()
        self._errands.put(lambda: told.put(_answer(question)))
        return told

    def _run(self) -> None:
        for errand in iter(self._errands.get, None):
            errand()

    def _no_answer(self, device: DeviceId, patience_seconds: float) -> SampleFailed:
        return SampleFailed(
            device=device,
            seconds=self._clock(),
            unix_seconds=self._unix_clock(),
            reason=f"the driver did not answer within {patience_seconds:g} s",
            fault=Fault.NO_ANSWER,
        )


def _answer(question: Callable[[], Answer]) -> "_Told[Answer]":
    try:
        return question(), None
    except Exception as error:  # noqa: BLE001 - Whoever asked gets it; the thread lives on.
        return None, error
