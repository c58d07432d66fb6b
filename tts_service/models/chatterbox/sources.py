"""Where a model's weights come from: `hub`, `synthetic`, `synthetic:tiny`, or a folder's path."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tts_service.errors import StartupError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import LAYOUTS
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.synthetic_folder import ensure_synthetic
from tts_service.models.chatterbox.synthetic_modules import SyntheticModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """The Hugging Face cache, and the hub if `download` allows it."""

    download: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """A folder in upstream's layout."""

    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSource:
    """Planted random weights, made once into the cache."""

    size: NetworkSize = NetworkSize.FULL
    seed: int = 0


WeightSource = HubSource | FolderSource | SyntheticSource


def parse_source(text: str, *, download: bool = False) -> WeightSource:
    """Return the source that a text names; `download` lets the hub be asked. StartupError for an unknown size."""
    kind, _, detail = text.partition(":")
    if text == "hub":
        return HubSource(download=download)
    if kind != "synthetic":
        return FolderSource(folder=Path(text).expanduser())
    if detail not in {"", *(size.value for size in NetworkSize)}:
        raise StartupError(f"weights {text!r}: synthetic ones are synthetic (full size) or synthetic:tiny")
    return SyntheticSource(size=NetworkSize(detail) if detail else NetworkSize.FULL)


def is_at_hand(source: WeightSource, model: ChatterboxModel) -> bool:
    """Tell whether a source has a model's weights, or may get them; that they are good is not known yet."""
    match source:
        case HubSource(download=download):
            from tts_service.models.chatterbox.hub import cached_folder  # noqa: PLC0415  # Half a second, for the hub.

            return download or cached_folder(LAYOUTS[model]) is not None
        case FolderSource() | SyntheticSource():
            return True


def weights_folder(source: WeightSource, model: ChatterboxModel, *, cache_folder: Path, progress: Progress) -> Path:
    """Return the folder that a source's weights are in, which is filled first if need be. Raises StartupError."""
    match source:
        case HubSource(download=download):
            from tts_service.models.chatterbox.hub import hub_folder  # noqa: PLC0415  # The same.

            return hub_folder(LAYOUTS[model], download=download, progress=progress)
        case FolderSource(folder=folder):
            if not folder.is_dir():
                raise StartupError(
                    f"weights: {folder} is not a folder; name one, or say hub, synthetic or synthetic:tiny"
                )
            return folder
        case SyntheticSource(size=size, seed=seed):
            made = SyntheticModel(model=model, size=size, seed=seed)
            return ensure_synthetic(cache_folder, made, progress=progress)
