"""Perth's watermark: its own weights and networks, in two modules that move on their own.

The encoder marks a window of speech, the detector scores audio. Both start from upstream's checkpoint
(`upstream_state_dict`), each with its own part of it, so that either can be loaded without the other. What upstream's
`PerthImplicitWatermarker` returns is the reference; its resampling, analysis and synthesis are repeated here, because
its own fail on short input, cut off what is not a whole frame, and leak memory outside inference mode.

Same input, same bits: neither torch's thread count nor what ran before matters.
"""

import hashlib
import importlib.util
import math
import pickle
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self, cast

import numpy as np
import soxr
import torch

from tts_service.errors import StartupError
from tts_service.models.chatterbox.upstream import late_import, without_weights
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, Waveform

PERTH_SAMPLE_RATE_HERTZ: Final = 32_000
FFT_SAMPLES: Final = 2_048
HOP_SAMPLES: Final = 320
"""A frame: 10 ms at PERTH_SAMPLE_RATE_HERTZ. Rate, FFT and hop are those of upstream's `default_hp`."""

FRAME_SAMPLES: Final = HOP_SAMPLES * MODEL_SAMPLE_RATE_HERTZ // PERTH_SAMPLE_RATE_HERTZ
"""A frame at MODEL_SAMPLE_RATE_HERTZ: 240 samples. Windows that are cut at whole frames keep the frames' places."""

MIN_FRAMES: Final = 4
"""Analysis reflects half an FFT (1024 samples) at each end, so a window must be longer: 4 frames are 1280 samples."""

_FLOOR: Final = 1e-9
_FLOOR_DECIBELS: Final = -180.0
_SPAN_DECIBELS: Final = 195.0
"""Upstream's networks see levels in decibels from the floor up, in units of this span (15 dB of it is headroom)."""

_CHECKPOINT: Final = Path("perth_net", "pretrained", "implicit", "perth_net_250000.pth.tar")
_CHECKPOINT_SHA256: Final = "a15bce457ebc53ce5e6c9c3f11df78cf7ee2bf9cdab0a798902135b4c4027670"
"""Of the file in resemble-perth 1.0.1: torch's reader checks no sums, so a damaged weight would go unnoticed."""

_NETWORKS: Final = "perth.perth_net.perth_net_implicit"
_WAY_OUT: Final = "reinstall it: pip install --force-reinstall --no-deps resemble-perth==1.0.1"

State = Mapping[str, torch.Tensor]


def upstream_state_dict(checkpoint: Path | None = None) -> dict[str, torch.Tensor]:
    """Return the weights that the package resemble-perth ships, encoder and detector in one.

    Raises StartupError, which says what to do, when the package has disabled itself or the file (`checkpoint`, by
    default the package's own) is missing or not the one that resemble-perth 1.0.1 ships.
    """
    path = checkpoint or _perth_folder() / _CHECKPOINT
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != _CHECKPOINT_SHA256:
                raise StartupError(f"the watermarker's weights {path} are damaged or of another release; {_WAY_OUT}")
            file.seek(0)
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise StartupError(f"the watermarker's weights {path} cannot be read ({error}); {_WAY_OUT}") from error
    return dict(content["model"])


def encoder_state(upstream: State) -> dict[str, torch.Tensor]:
    """Return the part of upstream's weights that PerthEncoder loads."""
    return _part(upstream, "encoder.")


def detector_state(upstream: State) -> dict[str, torch.Tensor]:
    """Return the part of upstream's weights that PerthDetector loads."""
    return _part(upstream, "decoder.")


def _part(upstream: State, prefix: str) -> dict[str, torch.Tensor]:
    """Return the weights under a prefix, named as the modules below name them."""
    return {f"network.{name.removeprefix(prefix)}": w for name, w in upstream.items() if name.startswith(prefix)}


class _Perth(torch.nn.Module):
    """What encoder and detector share: one of upstream's networks, and the analysis before it."""

    upstream_name: ClassVar[str]
    window: torch.Tensor

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        window = torch.hann_window(FFT_SAMPLES, dtype=torch.float32, device="cpu")
        self.register_buffer("window", window, persistent=False)

    @classmethod
    def from_state_dict(cls, state: State) -> Self:
        """Return a module that holds exactly these weights, uncopied; RuntimeError if any is missing or too many."""
        with without_weights():
            module = cls(_upstream_network(cls.upstream_name))
        module.load_state_dict(state, strict=True, assign=True)
        module.requires_grad_(requires_grad=False)
        return module.eval()

    def _spectrum(self, samples: Waveform) -> torch.Tensor:
        """Return the spectrum, shape (frequencies, frames + 1), of samples at MODEL_SAMPLE_RATE_HERTZ."""
        resampled = soxr.resample(samples, MODEL_SAMPLE_RATE_HERTZ, PERTH_SAMPLE_RATE_HERTZ, quality="HQ")
        signal = torch.from_numpy(resampled).to(self.window.device)
        return torch.stft(
            signal, FFT_SAMPLES, HOP_SAMPLES, window=self.window, center=True, pad_mode="reflect", return_complex=True
        )

    def __repr__(self) -> str:
        weight_bytes = sum(w.nbytes for w in self.parameters())
        return f"<{type(self).__name__} {weight_bytes / 2**20:.1f} MiB on {self.window.device}>"


class PerthEncoder(_Perth):
    """Marks speech. The module `watermark.encoder`."""

    upstream_name = "Encoder"

    def mark(self, window: Waveform) -> Waveform:
        """Return the marked samples, as many as came in, both at MODEL_SAMPLE_RATE_HERTZ.

        Equal to what upstream returns for the samples followed by zeros up to a whole frame (at least MIN_FRAMES),
        cut to length. A step that takes a few milliseconds for a second of speech.
        """
        if not len(window):
            return window.copy()
        frames = max(math.ceil(len(window) / FRAME_SAMPLES), MIN_FRAMES)
        padded = np.pad(window, (0, frames * FRAME_SAMPLES - len(window)))
        with _ONE_THREAD, torch.inference_mode():
            marked = self._marked(self._spectrum(padded)).cpu().numpy()
        samples: Waveform = soxr.resample(marked, PERTH_SAMPLE_RATE_HERTZ, MODEL_SAMPLE_RATE_HERTZ, quality="HQ")
        return samples[: len(window)]

    def _marked(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Return the signal of the spectrum, which is changed in place, with the mark on it.

        Upstream rebuilds every frequency from level and phase; only those up to 2 kHz change, so these are scaled.
        Upstream also leaves out frames below a twentieth of the clip's highest sum of levels. They are not left out
        here, because no stream knows the highest yet to come: such frames lie below -170 dB, the mark changes no level
        by more than 6 dB (seen: 5.6), and over speech, gaps of zeros and noise at 1e-9 the difference was below 1e-9.
        """
        marked = spectrum[: cast("int", self.network.subband)]
        marked *= torch.pow(10.0, self._residual(_levels(marked)) * (_SPAN_DECIBELS / 20))
        return torch.istft(spectrum, FFT_SAMPLES, HOP_SAMPLES, window=self.window, center=True)

    def _residual(self, levels: torch.Tensor) -> torch.Tensor:
        """Return what upstream's encoder adds to the levels, shape (frequencies, frames)."""
        hidden = levels[None]
        for layer in cast("torch.nn.Sequential", self.network.layers):
            hidden = _convolved(cast("torch.nn.Conv1d", layer.conv), hidden)
            if layer.act:
                hidden = cast("torch.nn.Module", layer.act)(hidden)
        return hidden[0]


class PerthDetector(_Perth):
    """Scores audio. The module `watermark.detector`."""

    upstream_name = "Decoder"

    def score(self, samples: Waveform) -> float:
        """Return how surely the samples (at least MIN_FRAMES, in practice half a second) are marked, 0 to 1.

        NaN for digital silence, which has nothing to look at. Takes about 2 MiB and 9 ms for each second of audio.
        """
        assert len(samples) >= MIN_FRAMES * FRAME_SAMPLES
        with _ONE_THREAD, torch.inference_mode():
            score = self.network(_levels(self._spectrum(samples))[None])
            return float(score.clip(0.0, 1.0).item())


def _levels(spectrum: torch.Tensor) -> torch.Tensor:
    """Return the levels that upstream's networks work on: 0 is the floor, 1 is 15 dB above unit magnitude."""
    return (20 * torch.log10(spectrum.abs().clip(_FLOOR)) - _FLOOR_DECIBELS) / _SPAN_DECIBELS


def _convolved(convolution: torch.nn.Conv1d, hidden: torch.Tensor) -> torch.Tensor:
    """Return the convolution of hidden, shape (1, channels, frames).

    For inputs below 20,480 values (80 frames), torch takes a path that is twice as slow: 55 frames take 4.9 ms
    instead of 2.3 ms on one core. So oneDNN is called by name where there is one.
    """
    if hidden.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch's.
        return cast("torch.Tensor", convolution(hidden))
    padding = cast("tuple[int, ...]", convolution.padding)
    return torch.mkldnn_convolution(hidden, convolution.weight, convolution.bias, padding, (1,), (1,), 1)


def _upstream_network(name: str) -> torch.nn.Module:
    """Return one of upstream's networks, with the sizes of the released weights."""
    _perth_folder()
    model = late_import(f"{_NETWORKS}.model")
    sizes = late_import(f"{_NETWORKS}.config").default_hp
    network = getattr(late_import(f"{_NETWORKS}.model.{name.lower()}"), name)
    return cast("torch.nn.Module", network(sizes.hidden_size, model.compute_subband_freq(sizes)))


def _perth_folder() -> Path:
    """Return where upstream's package is; StartupError if it is missing, another, or would disable itself.

    Only its networks are imported, and not librosa, which the package as a whole takes (2 s). That it could be imported
    as a whole stays the condition: one that disables itself is a damaged installation.
    """
    spec = importlib.util.find_spec("perth")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    if not folders or not (Path(folders[0]) / "perth_net").is_dir():
        raise StartupError(f"the watermarker's package is missing or another of its name; {_WAY_OUT}")
    whole = sys.modules.get("perth")
    is_disabled = whole is not None and vars(whole).get("PerthImplicitWatermarker", whole) is None
    if is_disabled or importlib.util.find_spec("pkg_resources") is None:
        raise StartupError(
            "the watermarker has disabled itself: resemble-perth 1.0.1 imports pkg_resources, which setuptools 81 "
            "dropped; install an older one: pip install 'setuptools<81'"
        )
    return Path(folders[0])


class _OneThread:
    """While inside, this thread computes alone: torch's sums depend on how many threads share them.

    A thread that enters remembers nothing of its own, because a thread that starts while another is inside would take
    1 for the number to go back to.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._threads = 1

    def __enter__(self) -> None:
        with self._lock:
            # Also makes torch set up this thread, which would otherwise happen later and undo what follows.
            threads = torch.get_num_threads()
            if not self._inside:
                self._threads = threads
            self._inside += 1
            torch.set_num_threads(1)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._inside -= 1
            torch.set_num_threads(self._threads)

    def __repr__(self) -> str:
        return f"<_OneThread {self._inside} inside>"


_ONE_THREAD: Final = _OneThread()
