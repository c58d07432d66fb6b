"""Modules that run when somebody asks for what they define, and not when they are imported beside what is needed.

gRPC imports its asyncio API and with it asyncio, which is 9 MiB that a daemon of threads never asks for; the package of
Prometheus' client imports its servers, pushers and TLS. Such a module is put in its place, the real one, with its own
path and loader, and it runs as soon as a name is wanted that only it has. Parts of it are imported as ever.

Whoever needs one of them after all gets it whole, later. What was imported already is left as it is. Limit: a package
around a late module does not know it as its attribute unless it says `from package import module` itself, as these do.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

_RUNNING: Final = threading.RLock()
"""While a module runs; others wait for it."""
_runs_now: set[str] = set()
_ASKED_FOR: Final = frozenset({"__all__", "__version__"})
"""Names between underscores that only a module itself can tell; `import *` asks for the first. Others are Python's."""


class _LateModule(ModuleType):
    """A module before it has run; after that it is an ordinary one."""

    def __getattr__(self, name: str) -> Any:
        """Return a part, which is imported, or what the module defines, which then runs."""
        if name.startswith("__") and name not in _ASKED_FOR:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if hasattr(self, "__path__"):
            part = f"{self.__name__}.{name}"
            if importlib.machinery.PathFinder.find_spec(part, self.__path__) is not None:
                return importlib.import_module(part)
        _run(self)
        if self.__class__ is not ModuleType and name not in vars(self):  # It still runs, in this thread.
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"<_LateModule {self.__name__}>"


def settle_late(*names: str) -> None:
    """Have modules be there that are yet to run; those that are there already, or nowhere, are left as they are."""
    for name in names:
        spec = None if name in sys.modules else _spec_of(name)
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            module.__class__ = _LateModule
            sys.modules[name] = module


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """Return where a module is, without running the packages around it."""
    around, _, _ = name.rpartition(".")
    path: Sequence[str] | None = None
    if around:
        package = _spec_of(around)
        path = None if package is None else package.submodule_search_locations
        if path is None:
            return None
    return importlib.machinery.PathFinder.find_spec(name, path)


def _run(module: ModuleType) -> None:
    with _RUNNING:
        # What it imports may ask for it meanwhile, as in any circle of imports.
        if not isinstance(module, _LateModule) or module.__name__ in _runs_now:
            return
        assert module.__spec__ is not None
        assert module.__spec__.loader is not None
        _runs_now.add(module.__name__)
        try:
            module.__spec__.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(module.__name__, None)  # As for any import that failed: the next one begins anew.
            raise
        finally:
            _runs_now.discard(module.__name__)
        module.__class__ = ModuleType  # type: ignore[assignment]  # From here on it is an ordinary module.
