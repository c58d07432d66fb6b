"""Synthetic weights in the cache, made if they are not there: `python -m benchmarks.cached_weights --model english`."""

import argparse
import os
from pathlib import Path
from typing import Final

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.loading import no_progress
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.sources import parse_source, weights_folder

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "greenroom"


def cached_folder(source: str, model: ChatterboxModel, cache: Path = CACHE) -> Path:
    """Return the folder of a source: a folder's path, hub, synthetic or synthetic:tiny. Raises StartupError."""
    return weights_folder(parse_source(source), model, cache_folder=cache, progress=no_progress)


def synthetic_source(size: NetworkSize) -> str:
    """Return what a size's synthetic weights are called."""
    return f"synthetic:{size.value}"


def main() -> int:
    """Make a model's weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=ChatterboxModel, required=True)
    parser.add_argument("--size", type=NetworkSize, default=NetworkSize.FULL)
    parser.add_argument("--cache", type=Path, default=CACHE)
    options = parser.parse_args()
    cached_folder(synthetic_source(options.size), options.model, options.cache)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
