"""What a lease does on the device: work comes after what brings its modules there, and before what takes them away."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.guard import Guard
from tts_service.residency.module_store import ModuleStore
from tts_service.residency.mover import Mover
from tts_service.residency.waiting import broken_error
from tts_service.types import ModuleName

_log = structlog.get_logger(__name__)


class Lending:
    """Hands out modules that are leased, and breaks those on which the device fails. Thread-safe."""

    def __init__(self, store: ModuleStore, *, mover: Mover, guard: Guard) -> None:
        self._store = store
        self._mover = mover
        self._guard = guard

    def __repr__(self) -> str:
        return f"<Lending from {self._store!r}>"

    @contextmanager
    def lent(self, wanted: frozenset[ModuleName]) -> Iterator[Mapping[ModuleName, object]]:
        """Use modules that are leased. Raises ServiceError ENGINE_FAULT if the device fails before or after that."""
        modules = {module: self._store.objects[module] for module in wanted}
        try:
            self._mover.begin_work(wanted)
        except DeviceDriverError as error:
            raise self._broken(wanted, error) from error
        try:
            yield modules
        finally:
            modules.clear()
            try:
                self._mover.end_work(wanted)
            except DeviceDriverError as error:
                raise self._broken(wanted, error) from error

    def _broken(self, wanted: frozenset[ModuleName], error: DeviceDriverError) -> Exception:
        """Note that nobody can use these modules any more: their device has failed, and will again."""
        _log.error("device_failed", modules=sorted(wanted), call=error.call, reason=error.reason)
        for module in sorted(wanted):
            self._mover.fail(module, error)
            with self._guard.changing() as register:
                outcomes = register.broke_down(module, tier=self._store.whereabouts(module))
            for outcome in outcomes:
                outcome()
        return broken_error(min(wanted))
