"""Health follows the modules: red while one of them is broken, green when all have come back."""

from collections.abc import Callable, Collection

import structlog

log = structlog.get_logger(__name__)


class ModuleHealth:
    """What was last told of the modules' health. `check` is called whenever `differs` from any thread says so."""

    def __init__(self, broken: Callable[[], Collection[str]], tell: Callable[[bool], None]) -> None:
        self._broken = broken
        self._tell = tell
        self._serving = True

    def differs(self) -> bool:
        """Tell whether it is another story than was told: modules move often, and hardly ever break."""
        return bool(self._broken()) is self._serving

    def check(self) -> None:
        """Look, and tell if it is another story than before; again if it has become another one meanwhile."""
        while bool(broken := sorted(self._broken())) is self._serving:
            self._serving = not broken
            if broken:
                log.error("health_red", broken=broken)
            else:
                log.info("health_green")
            self._tell(self._serving)

    def __repr__(self) -> str:
        return f"<ModuleHealth {'green' if self._serving else 'red'}>"
