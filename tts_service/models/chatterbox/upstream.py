"""The one door to upstream's package, so that it is imported late and its warnings stay out of ours."""

import gc
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType

import torch


def upstream(name: str) -> ModuleType:
    """Return a module of upstream's package, such as `upstream("models.s3gen.flow")`.

    The first call imports all of upstream (7 s of a processor, half of it transformers and a third librosa's scipy and
    numba), which is why nothing imports it at the top of a file.
    """
    return late_import(f"chatterbox.{name}")


def late_import(name: str) -> ModuleType:
    """Return a module of upstream's or of a package that it builds on.

    Some make tensors while they are imported (torchaudio's `kaldi`, HiFT's default arguments). Those belong on the CPU,
    even if the import happens while a network is built on the meta device.
    """
    collector = nullcontext() if name in sys.modules else _uncollected()
    with quiet(), collector, torch.device("cpu"):
        return importlib.import_module(name)


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the warnings of upstream and what it imports: pkg_resources will go, diffusers' names will change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let Python's collector rest: it would look through all that is imported again and again (1.5 s), for nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
