"""Weights from the Hugging Face cache, and from the hub when, and only when, that is asked for.

The cache is the one that upstream's own package fills, so that what was downloaded once serves both.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from tqdm import tqdm

from tts_service.errors import StartupError
from tts_service.models.chatterbox.layout import ModelLayout

Progress = Callable[[int, int], None]

DOWNLOAD_GIGABYTES: Final = 3


def cached_folder(layout: ModelLayout, *, cache_folder: Path | None = None) -> Path | None:
    """Return where the cache has a model, whole; None if a file that is needed is missing. Asks nobody."""
    found = [try_to_load_from_cache(layout.repository, file, cache_dir=cache_folder) for file in layout.required_files]
    if not all(isinstance(each, str) for each in found):
        return None
    return Path(str(found[0])).parent


def hub_folder(
    layout: ModelLayout,
    *,
    download: bool,
    progress: Progress,
    cache_folder: Path | None = None,
    endpoint: str | None = None,
) -> Path:
    """Return a model's folder in the cache, which is filled from the hub if need be and allowed (`download`).

    A download that was interrupted goes on where it ended. `progress` takes bytes. Raises StartupError.
    """
    cached = cached_folder(layout, cache_folder=cache_folder)
    if cached is not None:
        return cached
    if not download:
        raise StartupError(
            f"the weights of the {layout.model} model ({layout.repository}) are not in the cache "
            f"{cache_folder or constants.HF_HUB_CACHE}: allow the download (--download, about "
            f"{DOWNLOAD_GIGABYTES} GB), name a folder that has them (--weights), or use synthetic ones"
        )
    try:
        folder = snapshot_download(
            layout.repository,
            allow_patterns=list(layout.files),
            cache_dir=cache_folder,
            endpoint=endpoint,
            tqdm_class=_reporting(progress),
        )
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        raise StartupError(_message(layout, error)) from error
    if not any((Path(folder) / file).exists() for file in layout.required_files):
        raise StartupError(f"the hub's {layout.repository} has none of the {layout.model} model's files")
    return Path(folder)


def _message(layout: ModelLayout, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    what = "HF_HUB_OFFLINE is set, so that the hub is not asked" if constants.HF_HUB_OFFLINE else reason
    return (
        f"the weights of the {layout.model} model ({layout.repository}) cannot be downloaded: {what}. Try again (what "
        "is there already is kept), name a folder that has them, or use synthetic ones"
    )


def _reporting(progress: Progress) -> type[Any]:
    """Return a progress bar, as the hub's client wants it, that shows nothing and tells bytes."""

    class Reporting(tqdm):  # type: ignore[misc]  # tqdm ships no types.
        """Follows the bytes that are written; the bars of files and of transfers are left out."""

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            self.tells = settings.get("unit") == "B" and str(settings.get("desc", "")).startswith("Reconstructing")
            settings.pop("name", None)
            super().__init__(*arguments, **settings | {"disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            """Count on, though nothing is shown."""
            self.n += n or 0
            if self.tells:
                progress(int(self.n), int(self.total or 0))
            return None

    return Reporting
