"""What a module is to those who move it. Which tiers a machine has is not known here."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tts_service.types import ModuleName


def _nothing() -> None:
    """Do nothing: most modules keep nothing beside themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSpec:
    """One module: the smallest thing that moves.

    `load` returns it, ready to compute, and is called for every restore. `install` runs once before the first: it
    brings in what stays (libraries, converted files), so that this is not taken for the module's bytes. `forget` runs
    after every eviction and empties what outlives the module. `rests_at_home` is False for a module that leaves again
    when it has not been used for a while: for `linger_seconds`, if not for as long as others. `home_bytes` is what it
    holds at home; None has that measured. `is_scratch`: it is work space that is worth nothing between two uses. None
    of the three may lease.
    """

    name: ModuleName
    load: Callable[[], object]
    install: Callable[[], object] = _nothing
    forget: Callable[[], object] = _nothing
    rests_at_home: bool = True
    home_bytes: int | None = None
    is_scratch: bool = False
    linger_seconds: float | None = None


def rehearsed(spec: ModuleSpec) -> ModuleSpec:
    """Return a module that `install` also loads once and drops: the voice's first load leaves 16 MiB of libraries."""

    def install() -> None:
        spec.install()
        spec.load()

    return replace(spec, install=install)
