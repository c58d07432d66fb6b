"""Packages whose `__init__` runs when somebody asks for what it defines, and not when a part of them is imported.

Upstream's `chatterbox/__init__.py` imports all that a user of the package may want, and with it transformers, SymPy and
scikit-learn; that of `perth` imports librosa. Networks need none of those. Python runs the `__init__` of every package
on the way to a module, unless the package is already there: so it is put there, the real one, with its own path and
loader, and it runs its `__init__` itself as soon as a name is wanted that only this has.

Whoever else imports these packages, before or after, sees no difference.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, Final

_RUNNING: Final = threading.RLock()
"""While a package is put in its place, or its `__init__` runs."""


_homes: dict[str, Mapping[str, str]] = {}
"""For each late package, the names that it has from its parts, and from which."""


_ASKED_FOR: Final = frozenset({"__version__", "__all__"})
"""Names between underscores that only `__init__` can tell; `import *` asks for the second. Others are Python's own."""


class _LatePackage(ModuleType):
    """A package before its `__init__` has run; after that it is an ordinary module."""

    def __getattr__(self, name: str) -> Any:
        """Return a part, which is imported, or what `__init__` defines, which then runs."""
        if name.startswith("__") and name not in _ASKED_FOR:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        home = _homes[self.__name__].get(name)
        if home is not None:
            return getattr(importlib.import_module(f"{self.__name__}.{home}"), name)
        whole = f"{self.__name__}.{name}"
        if importlib.util.find_spec(whole) is not None:
            return importlib.import_module(whole)
        _run(self)
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"<_LatePackage {self.__name__}>"


def settle_package(name: str, homes: Mapping[str, str] = MappingProxyType({})) -> None:
    """Let a package be there with its `__init__` yet to run, unless it is there already, or none is installed.

    Packages around it come first. `homes` says which of the package's names it has from which part, such as
    `{"get_window": "windows"}`: asking for such a name imports that part, and `__init__` does not run yet.
    """
    with _RUNNING:
        if name in sys.modules:
            return
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None or spec.submodule_search_locations is None:
            return
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _LatePackage
        _homes[name] = homes
        sys.modules[name] = package
        around, _, last = name.rpartition(".")
        if around:
            setattr(sys.modules[around], last, package)


def _run(package: ModuleType) -> None:
    with _RUNNING:
        if not isinstance(package, _LatePackage):
            return
        package.__class__ = ModuleType  # type: ignore[assignment]  # From here on it is an ordinary module.
        assert package.__spec__ is not None
        assert package.__spec__.loader is not None
        try:
            package.__spec__.loader.exec_module(package)
        except BaseException:
            sys.modules.pop(package.__name__, None)  # As for any import that failed: the next one begins anew.
            raise
