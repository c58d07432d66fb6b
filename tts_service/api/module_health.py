"""Health follows the modules: red while one of them is broken, green when all have come back."""

from collections.abc import Callable, Collection

import structlog

log = structlog.get_logger(__name__)


class ModuleHealth:
    """What was last told of the modules' health. `check` is called whenever something may have changed."""

    def __init__(self, broken: Callable[[], Collection[str]], tell: Callable[[bool], None]) -> None:
        self._broken = broken
        self._tell = tell
        self._serving = True

    def check(self) -> None:
        """Look, and tell if it is another story than before."""
        broken = sorted(self._broken())
        if bool(broken) is not self._serving:
            return
        self._serving = not broken
        if broken:
            log.error("health_red", broken=broken)
        else:
            log.info("health_green")
        self._tell(self._serving)

    def __repr__(self) -> str:
        return f"<ModuleHealth {'green' if self._serving else 'red'}>"
