"""Threads that run steps. On a CPU all lanes share them; on a GPU each lane has one, with a stream of its own.

A lane of a GPU has one thread because what its stages have captured works in buffers that they share: one step at a
time, whoever it is for. Both lanes' work runs at once on the device, with that of the tokens first: it is what the rest
waits for.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from tts_service.residency.cuda_driver import new_stream
from tts_service.speech.speech_model import Lane

Result = TypeVar("Result")

_PRIORITIES: Mapping[Lane, int] = {Lane.TOKENS: -1, Lane.SOUND: 0}
"""CUDA's: lower goes first."""


class _Thread:
    """An executor, and how many wait for it."""

    def __init__(self, executor: Executor) -> None:
        self.waiting = 0
        self._executor = executor
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Have work done in its turn."""
        self._count(1)

        def begun() -> Result:
            self._count(-1)
            return work()

        future = self._executor.submit(begun)
        future.add_done_callback(lambda done: self._count(-1) if done.cancelled() else None)
        return future

    def _count(self, change: int) -> None:
        with self._lock:
            self.waiting += change

    def close(self) -> None:
        """End when what is under way has ended; what waits is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.waiting} wait>"


class Workers:
    """The threads of all lanes."""

    def __init__(self, lanes: Mapping[Lane, Executor]) -> None:
        self.closing = False
        """Whether no work is begun any more; who works on and on ends then."""
        threads = {id(executor): _Thread(executor) for executor in lanes.values()}
        self._lanes = {lane: threads[id(executor)] for lane, executor in lanes.items()}

    @classmethod
    def shared(cls, count: int) -> "Workers":
        """Return threads that serve all lanes."""
        executor = ThreadPoolExecutor(count, thread_name_prefix="step")
        return cls(dict.fromkeys(Lane, executor))

    @classmethod
    def on_device(cls, device: torch.device) -> "Workers":
        """Return a thread for each lane, on a stream of its own of a CUDA device."""
        return cls(
            {
                lane: ThreadPoolExecutor(
                    1, thread_name_prefix=lane.value, initializer=_take_stream, initargs=(device, _PRIORITIES[lane])
                )
                for lane in Lane
            }
        )

    def submit(self, lane: Lane, work: Callable[[], Result]) -> Future[Result]:
        """Have work done in a thread of a lane, first come first served."""
        return self._lanes[lane].submit(work)

    def wanted(self, lane: Lane) -> bool:
        """Tell whether somebody waits for a thread of a lane."""
        return self._lanes[lane].waiting > 0

    def close(self) -> None:
        """End every thread when what it does has ended; what waits is dropped."""
        self.closing = True
        for thread in set(self._lanes.values()):
            thread.close()

    def __repr__(self) -> str:
        return f"<Workers {', '.join(f'{lane.value} {thread.waiting} wait' for lane, thread in self._lanes.items())}>"


def _take_stream(device: torch.device, priority: int) -> None:
    """Make all that this thread asks of the device go to a stream of its own."""
    torch.cuda.set_device(device)
    torch.cuda.set_stream(new_stream(device, priority=priority))
