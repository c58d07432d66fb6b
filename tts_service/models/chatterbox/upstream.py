"""The one door to upstream's package, so that it is imported late and its warnings stay out of ours."""

import gc
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from tts_service.models.late_packages import settle_package

_LATE_PACKAGES: Final = (
    "chatterbox",
    "chatterbox.models",
    "chatterbox.models.t3",
    "chatterbox.models.s3gen",
    "perth",
    "perth.perth_net",
)
"""Packages whose `__init__` imports what no network needs; each stands behind those around it."""

_BESIDE: Final[dict[str, dict[str, str]]] = {"scipy.signal": {"get_window": "windows"}, "torchaudio": {}, "onnx": {}}
"""Others' packages that upstream's networks want one name of (the vocoder's window), or none."""

_NETWORKS: Final = ("chatterbox.models.s3gen.", "chatterbox.models.s3tokenizer.", "s3tokenizer")
_FLOW: Final = "chatterbox.models.s3gen."
_DIFFUSERS: Final = "diffusers.utils.torch_utils"
_NOT_FOR_DIFFUSERS: Final = ("transformers", "torch._dynamo")
"""What diffusers imports if it is there, 7 s of it, and the flow's network does not need: text encoders, a compiler."""


def upstream(name: str) -> ModuleType:
    """Return a module of upstream's package, such as `upstream("models.s3gen.flow")`.

    Only what the module itself imports is imported: half a second for the vocoder (SciPy) and the flow (diffusers), and
    seconds for `models.t3` (transformers) and `models.s3gen.utils.mel` (librosa), which no start needs.
    """
    return late_import(f"chatterbox.{name}")


def late_import(name: str) -> ModuleType:
    """Return a module of upstream's or of a package that it builds on.

    Some make tensors while they are imported (torchaudio's `kaldi`, HiFT's default arguments). Those belong on the CPU,
    even if the import happens while a network is built on the meta device.
    """
    collector = nullcontext() if name in sys.modules else _uncollected()
    with quiet(), collector, torch.device("cpu"):
        for package in _LATE_PACKAGES:
            if name.startswith(f"{package}."):
                settle_package(package)
        if name.startswith(_NETWORKS):
            for package, homes in _BESIDE.items():
                settle_package(package, homes)
        if name.startswith(_FLOW):
            _settle_diffusers()
        return importlib.import_module(name)


def _settle_diffusers() -> None:
    """Import the part of diffusers that looks for other packages, while those that are not there yet cannot be found.

    None in `sys.modules` is Python's own word for what is not to be had. Once asked, diffusers does not ask again.
    """
    hidden = [name for name in _NOT_FOR_DIFFUSERS if name not in sys.modules]
    if _DIFFUSERS in sys.modules or importlib.util.find_spec("diffusers") is None:
        return
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]  # The documented way.
    try:
        importlib.import_module(_DIFFUSERS)
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def without_weights(device: str = "meta") -> Iterator[None]:
    """Build networks of upstream's without memory for their weights, quietly; none is drawn.

    On the CPU, for constructors that compute tables, weights take addresses and no more until somebody writes to them:
    what is built there goes to the meta device at once.
    """
    with quiet(), torch.device(device), _NothingDrawn(keeps_tables=device != "meta"):
        yield


class _NothingDrawn(TorchFunctionMode):
    """Leaves out what fills weights while networks are built; torch asks it before every function.

    On the meta device, random numbers, identities and the norms of weights would import torch's compiler and SymPy, and
    take 4 s. Identities are left as they are with `keeps_tables`: elsewhere they may be meant to stay.
    """

    def __init__(self, *, keeps_tables: bool) -> None:
        super().__init__()
        self._keeps_tables = keeps_tables

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return what the function returns, or a weight as it is, or memory for the norms of one."""
        del types
        named = kwargs or {}
        if func in _DRAWS or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        if func is torch.norm_except_dim:
            weight, _, kept = args
            return weight.new_empty([size if at == kept else 1 for at, size in enumerate(weight.shape)])
        if func is torch.eye and not self._keeps_tables:
            return torch.empty(args[0], args[-1], **named)
        return func(*args, **named)


_DRAWS: Final = (torch.Tensor.normal_, torch.Tensor.uniform_)


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
