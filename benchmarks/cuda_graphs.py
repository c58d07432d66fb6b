"""CUDA graphs in torch's own memory, for measurements and tests of one stage by itself."""

import torch

from tts_service.speech.captured.graphs import Work


class CudaGraphs:
    """Graphs in torch's own private pool, for measurements: nothing of it can be given back."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's.
        self._kept: list[torch.cuda.CUDAGraph] = []

    def buffer(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Return memory for life."""
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def constant(self, values: torch.Tensor) -> torch.Tensor:
        """Return values on the device."""
        return values.to(self.device)

    def capture(self, name: str, work: Work) -> Work:
        """Warm up on the stream of capture, capture, and return the replay."""
        del name
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream), torch.inference_mode():
            for _ in range(2):
                work()
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        capturing = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        with torch.inference_mode(), capturing:
            work()
        self._kept.append(graph)
        return graph.replay

    def __repr__(self) -> str:
        return f"<CudaGraphs on {self.device} | {len(self._kept)} graphs>"
