"""Whether what a file holds is what a network wants: every name, type and shape. Pure."""

from collections.abc import Iterator, Mapping

import torch

from tts_service.models.chatterbox.layout import ModuleFile
from tts_service.models.chatterbox.weight_file import StoredTensor
from tts_service.models.chatterbox.weight_problems import WeightProblem

Wanted = Mapping[str, torch.Tensor]
"""A network's state dict, whose tensors may be on the meta device."""


def module_problems(place: ModuleFile, wanted: Wanted, stored: Mapping[str, StoredTensor]) -> Iterator[WeightProblem]:
    """Yield what one module misses in its file, or finds there in another type or shape."""
    for name, tensor in wanted.items():
        key = f"{place.prefix}{name}"
        if key in stored:
            what = _difference(stored[key], tensor)
            if what:
                yield WeightProblem(file=place.file, key=key, what=what)
        elif key not in place.optional_keys:
            yield WeightProblem(file=place.file, key=key, what="is missing")


def surplus_problems(
    places: Mapping[ModuleFile, Wanted], stored: Mapping[str, StoredTensor]
) -> Iterator[WeightProblem]:
    """Yield the names in a file that none of its modules has; `places` are all modules of that one file."""
    known = {f"{place.prefix}{name}" for place, wanted in places.items() for name in wanted}
    unused = {key for place in places for key in place.unused_keys}
    file = next(iter(places)).file
    for key in stored:
        if key not in known | unused:
            yield WeightProblem(file=file, key=key, what="is in the file, but in no network of this model")


def _difference(stored: StoredTensor, wanted: torch.Tensor) -> str:
    differences = []
    if stored.shape != tuple(wanted.shape):
        differences.append(f"has shape {stored.shape}, the network wants {tuple(wanted.shape)}")
    if stored.dtype != wanted.dtype:
        differences.append(f"has type {_type(stored.dtype)}, the network wants {_type(wanted.dtype)}")
    return "; ".join(differences)


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
