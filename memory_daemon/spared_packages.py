"""Packages that others import where they find them, and do without where they do not."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def spared(*names: str) -> Iterator[None]:
    """Have packages not be found by what is imported inside; those that are imported already are left as they are."""
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    hidden = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
