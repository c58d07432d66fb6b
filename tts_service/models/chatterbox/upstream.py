"""The one door to upstream's package, so that it is imported late and its warnings stay out of ours."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch


def upstream(name: str) -> ModuleType:
    """Return a module of upstream's package, such as `upstream("models.s3gen.flow")`.

    The first call imports all of upstream (about 4 s), which is why nothing imports it at the top of a file.
    """
    return late_import(f"chatterbox.{name}")


def late_import(name: str) -> ModuleType:
    """Return a module of upstream's or of a package that it builds on.

    Some make tensors while they are imported (torchaudio's `kaldi`, HiFT's default arguments). Those belong on the CPU,
    even if the import happens while a network is built on the meta device.
    """
    with quiet(), torch.device("cpu"):
        return importlib.import_module(name)


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the warnings of upstream and what it imports: pkg_resources will go, diffusers' names will change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
