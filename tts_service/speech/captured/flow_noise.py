"""The noise that a decode begins from, in one graph: the same bits as `CounterRandom.mel_noise` on the same device."""

import torch

from tts_service.speech.captured.graphs import Graphs, Work
from tts_service.speech.captured.posting import post
from tts_service.speech.mel import mel_noise
from tts_service.speech.random_source import MEL_BANDS, CounterRandom, RandomSource, mel_noise_of


class CapturedNoise:
    """Noise of up to `frames` frames, for one decode at a time: the next one's takes its place."""

    def __init__(self, graphs: Graphs, *, frames: int) -> None:
        self._graphs = graphs
        self._frames = frames
        self._place = graphs.buffer(3, dtype=torch.int64)
        self._noise = graphs.buffer(MEL_BANDS, frames, dtype=torch.float32)
        self._draw: Work | None = None

    def capture(self) -> None:
        """Capture the work. Not while anything is served."""
        self._place.zero_()
        self._draw = self._graphs.capture(f"flow noise {self._frames}", self._work)

    def drawn(self, random: RandomSource, prompt_frames: int, start_frame: int, count: int) -> torch.Tensor:
        """Return `mel.mel_noise` of the same. What is longer, or another source's, is drawn without the graph."""
        assert self._draw is not None
        if not isinstance(random, CounterRandom) or prompt_frames + count > self._frames:
            return mel_noise(random, prompt_frames, start_frame, count)
        post(torch.tensor([random.mel_key, prompt_frames, start_frame]), self._place)
        self._draw()
        return self._noise[:, : prompt_frames + count]

    def _work(self) -> None:
        key, prompt_frames, start_frame = self._place.unbind()
        place = torch.arange(self._frames, device=self._place.device) - prompt_frames
        self._noise.copy_(mel_noise_of(key, torch.where(place < 0, place, place + start_frame)))

    def __repr__(self) -> str:
        return f"<CapturedNoise of up to {self._frames} frames>"
