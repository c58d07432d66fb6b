"""CUDA graphs whose memory can be taken away between two replays, and be put back under them.

Buffers and what the work allocates inside a capture are in a `ScratchSpace`: same addresses for life, contents worth
nothing once the space has been away. Graphs stay valid. They are captured under a lease on the space and on what they
read, and replayed under one.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

import structlog
import torch

from tts_service.errors import Reason, ServiceError
from tts_service.residency.cuda_driver import new_stream
from tts_service.residency.device_driver import DeviceDriverError, DeviceMemoryError
from tts_service.residency.graph_pool import pool_over
from tts_service.residency.growing_range import GrowingRange
from tts_service.residency.growth import RoomWantedError
from tts_service.residency.raw_tensor import storage_over, strided_over
from tts_service.residency.scratch_space import ScratchSpace

MOST_BYTES: Final = 16 << 30
"""Of addresses, which cost nothing: far more than a stage ever takes."""

Work = Callable[[], None]

_log = structlog.get_logger(__name__)


class Recorder(Protocol):
    """Captures work whose allocations go to a range."""

    def warm_up(self, work: Work) -> None:
        """Run work outside the range, so that what it makes once and keeps is not there."""
        ...

    def record(self, work: Work) -> Work:
        """Capture work and return what repeats it."""
        ...


MakeRecorder = Callable[[torch.device, GrowingRange], Recorder]
"""Makes what captures, for a device and the range that its work's allocations go to."""


class GraphRecorder:
    """CUDA's own, on a stream that nothing else uses. `memory` is where torch's segments go."""

    def __init__(self, device: torch.device, memory: GrowingRange) -> None:
        self._device = device
        self._pool = pool_over(memory)
        self._stream = new_stream(device)
        self._kept: list[torch.cuda.CUDAGraph] = []

    def __repr__(self) -> str:
        return f"<GraphRecorder on {self._device} | {len(self._kept)} graphs>"

    def warm_up(self, work: Work) -> None:
        """Run work on the side, in torch's ordinary memory: what it caches, and what libraries keep, goes there."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream), torch.inference_mode():
            work()
        self._stream.synchronize()

    def record(self, work: Work) -> Work:
        """Run work in the pool, so that it need not grow later, capture it there, and return the replay."""
        # What matrix products work in belongs to a thread and a stream. It is let go before and after, so that graphs
        # have theirs in the pool, and so that nobody else ever computes in there.
        _forget_workspaces()
        with torch.cuda.stream(self._stream), torch.inference_mode(), torch.cuda.use_mem_pool(self._pool):
            work()
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), self._capturing(graph):
            work()
        _forget_workspaces()
        self._kept.append(graph)
        return graph.replay

    def _capturing(self, graph: torch.cuda.CUDAGraph) -> AbstractContextManager[None]:
        return torch.cuda.graph(
            graph,
            pool=self._pool.id,  # type: ignore[arg-type]  # It is what is meant: two numbers.
            stream=self._stream,
            capture_error_mode="thread_local",
        )


class ServingRecorder(GraphRecorder):
    """The same for work that is captured while others speak.

    Torch's own way waits for the whole device first, and gives back all that torch keeps: whoever speaks would wait for
    both, and then for new memory. And a matrix product that is just being launched elsewhere may hold workspace that
    was forgotten here; as long as torch keeps it, its own stream gets it next, and so after that product.
    """

    @contextmanager
    def _capturing(self, graph: torch.cuda.CUDAGraph) -> Iterator[None]:
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool.id, capture_error_mode="thread_local")  # type: ignore[arg-type]  # As above.
            try:
                yield
            finally:
                # Also after a failure: a stream that is left capturing breaks all that is asked of it later.
                graph.capture_end()


class ArenaGraphs:
    """Where one stage's work is captured: `Graphs` of `speech.captured`. Calls come under a lease on the space.

    `recorder` makes what captures; tests have one that needs no GPU.
    """

    def __init__(
        self,
        space: ScratchSpace,
        *,
        most_bytes: int = MOST_BYTES,
        recorder: MakeRecorder = GraphRecorder,
    ) -> None:
        self.device = space.driver.device
        self._space = space
        with space.moving():
            self._buffers = GrowingRange(space.driver, most_bytes)
            self._intermediates = GrowingRange(space.driver, most_bytes)
        space.add(self._buffers)
        space.add_pool(self._intermediates)
        self._recorder = recorder(self.device, self._intermediates)
        self._captured: dict[str, int] = {}

    def __repr__(self) -> str:
        buffers, pool = self._buffers.byte_count, self._intermediates.byte_count
        return f"<ArenaGraphs of {self._space.name} | {len(self._captured)} graphs | {buffers} + {pool} bytes>"

    @property
    def buffer_bytes(self) -> int:
        """What buffers take while they are there."""
        return self._buffers.byte_count

    @property
    def pool_bytes(self) -> int:
        """What all graphs together work in."""
        return self._intermediates.byte_count

    @property
    def captured(self) -> tuple[str, ...]:
        """The names of what was captured."""
        return tuple(self._captured)

    def buffer(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return memory at an address for life, contiguous, with undefined contents.

        Raises RoomWantedError if there is no memory for it, or not within the budget.
        """
        byte_count = torch.Size(shape).numel() * dtype.itemsize
        lacking_bytes = self._buffers.lacking_bytes(byte_count)
        if lacking_bytes and not self._space.account.grow(lacking_bytes):
            raise RoomWantedError(self._space.name, lacking_bytes, _no_room(self._space, lacking_bytes))
        try:
            address = self._taken(byte_count)
        except DeviceMemoryError as error:
            self._space.account.note(-lacking_bytes)
            message = _no_room(self._space, lacking_bytes)
            raise RoomWantedError(self._space.name, lacking_bytes, message, is_short=True) from error
        except DeviceDriverError:
            self._space.account.note(-lacking_bytes)
            raise
        storage = storage_over(self.device, address, byte_count)
        return strided_over(storage, self.device, dtype=dtype, shape=shape)

    def constant(self, values: torch.Tensor) -> torch.Tensor:
        """Return values on the device that never leave it."""
        return values.to(self.device)

    def capture(self, name: str, work: Work) -> Work:
        """Run `work` to warm it up, capture it, and return what repeats it on the caller's current stream.

        Raises what the work raises, and ServiceError DEVICE_MEMORY.
        """
        assert self._space.is_mapped, "work is captured under a lease on its space"
        self._recorder.warm_up(work)
        before_bytes = self._intermediates.byte_count
        try:
            with self._space.gate.capturing():
                replay = self._recorder.record(work)
        except torch.OutOfMemoryError as error:
            # Not wanted as room: what was captured before would be kept for nothing if it began anew.
            lacking_bytes = self._intermediates.byte_count - before_bytes
            metadata = {"needed_bytes": str(lacking_bytes)}
            message = _no_room(self._space, lacking_bytes)
            raise ServiceError(Reason.DEVICE_MEMORY, message, metadata=metadata) from error
        finally:
            grown_bytes = self._intermediates.byte_count - before_bytes
            if grown_bytes:
                self._space.account.note(grown_bytes)
        self._captured[name] = grown_bytes
        _log.debug("work_captured", module=self._space.name, work=name, grown_bytes=grown_bytes)
        return replay

    def _taken(self, byte_count: int) -> int:
        taken: list[int] = []
        with self._space.moving():
            self._space.with_memory(lambda: taken.append(self._buffers.take(byte_count)))
        return taken[0]


def _no_room(space: ScratchSpace, byte_count: int) -> str:
    return f"{space.name} needs {byte_count:,} bytes more on the device, which are not to be had"


def _forget_workspaces() -> None:
    torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - there is no public way.
