"""At what times of day modules are used, service by service: kept while a service is away, for a week at most.

Pure. A service that restarts, or is gone over night, is expected in the morning all the same.
"""

from collections.abc import Iterable, Mapping

from memory_daemon.rhythm import Rhythm, turned, used
from memory_daemon.types import ModuleName, ModuleStatus, ServiceName

Rhythms = Mapping[ServiceName, Mapping[ModuleName, Rhythm]]
SERVICES_MAXIMUM = 64
"""As many as there can be links."""
MODULES_MAXIMUM = 64
"""Of one service; ours have a dozen."""


def followed(
    rhythms: Rhythms, reports: Iterable[tuple[ServiceName, tuple[ModuleStatus, ...]]], now_unix_seconds: float
) -> Rhythms:
    """Return the rhythms with the newest reports taken in; what was not used for a week is forgotten."""
    taken = {service: _follow_service(rhythms.get(service, {}), modules) for service, modules in reports}
    all_of_them = {service: _turned(known, now_unix_seconds) for service, known in (dict(rhythms) | taken).items()}
    alive = {service: known for service, known in all_of_them.items() if known}
    kept = sorted(alive, key=lambda service: (service not in taken, service))[:SERVICES_MAXIMUM]
    fresh = {service: alive[service] for service in alive if service in kept}
    return rhythms if fresh == rhythms else fresh


def rhythm_of(rhythms: Rhythms, service: ServiceName, module: ModuleName) -> Rhythm:
    """Return when a module is used; an empty rhythm for one that was never seen in use."""
    return rhythms.get(service, {}).get(module, Rhythm())


def _follow_service(
    known: Mapping[ModuleName, Rhythm], modules: tuple[ModuleStatus, ...]
) -> Mapping[ModuleName, Rhythm]:
    seen = {
        status.module: used(known.get(status.module, Rhythm()), status.last_use_unix_seconds)
        for status in modules[:MODULES_MAXIMUM]
        if status.last_use_unix_seconds is not None
    }
    # What a newer version of the service does not have any more makes room for what it has.
    others = {module: rhythm for module, rhythm in known.items() if module not in seen}
    return dict(list((seen | others).items())[:MODULES_MAXIMUM])


def _turned(known: Mapping[ModuleName, Rhythm], now_unix_seconds: float) -> Mapping[ModuleName, Rhythm]:
    now = {module: turned(rhythm, now_unix_seconds) for module, rhythm in known.items()}
    return {module: rhythm for module, rhythm in now.items() if rhythm.days}
