"""What a daemon knows from before it started, as its journal tells: when modules are used, and what was predicted.

Only the newest part of the journal is read, and of that only the lines that tell of these; the rest is skipped by the
head of its line, unread. A journal that cannot be read is no reason not to start.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from memory_daemon.foresight import Rhythms, rhythm_of
from memory_daemon.journal_records import SCHEMA, Demanded, Entry, ServiceChanged, entry_of
from memory_daemon.orders import DeviceState
from memory_daemon.prediction_records import PredictionEnded, PredictionMade
from memory_daemon.predictions import Prediction, Predictions, Verdict, counted, predicted
from memory_daemon.rhythm import Rhythm, turned, used
from memory_daemon.types import DeviceId, ModuleName, ServiceName

BYTES_MAXIMUM = 64 * 1024 * 1024
"""More than a journal of the default size."""
HEAD_BYTES = 96
_KINDS = tuple(f'"kind":"{kind}"'.encode() for kind in ("demand", "service", "prediction", "verdict"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """What is known from before, of services that have been on each device."""

    rhythms: Rhythms = field(default_factory=dict)
    services: Mapping[DeviceId, frozenset[ServiceName]] = field(default_factory=dict)
    predictions: Mapping[DeviceId, Predictions] = field(default_factory=dict)

    def state(self, device: DeviceId) -> DeviceState:
        """Return what a policy begins with on a device."""
        known = self.services.get(device, frozenset())
        return DeviceState(
            rhythms={service: rhythms for service, rhythms in self.rhythms.items() if service in known},
            predictions=self.predictions.get(device, Predictions()),
        )

    def kept(self, device: DeviceId, state: DeviceState) -> "Recollection":
        """Return it with what a state knows of a device that is not watched any more."""
        return replace(
            self,
            rhythms=dict(self.rhythms) | dict(state.rhythms),
            services=dict(self.services) | {device: frozenset(state.rhythms)},
            predictions=dict(self.predictions) | {device: state.predictions},
        )


def recollected(paths: Sequence[Path], now_unix_seconds: float, bytes_maximum: int = BYTES_MAXIMUM) -> Recollection:
    """Return what journal files tell, oldest first; files that cannot be read tell nothing."""
    return recollection_of(_entries(paths, bytes_maximum), now_unix_seconds)


def recollection_of(entries: Iterable[Entry], now_unix_seconds: float) -> Recollection:
    """Return what entries tell; those of the future come from a clock that was wrong."""
    telling = _Telling()
    for entry in entries:
        if entry.unix_seconds <= now_unix_seconds:
            telling.take(entry)
    return telling.told(now_unix_seconds)


class _Telling:
    """One pass over a journal."""

    def __init__(self) -> None:
        self._rhythms: dict[ServiceName, dict[ModuleName, Rhythm]] = {}
        self._services: dict[DeviceId, set[ServiceName]] = {}
        self._predictions: dict[DeviceId, Predictions] = {}

    def __repr__(self) -> str:
        return f"<_Telling {len(self._rhythms)} services | {len(self._predictions)} devices with predictions>"

    def take(self, entry: Entry) -> None:
        """Learn from one entry."""
        match entry.record:
            case Demanded() as demanded:
                self._take_demand(demanded, entry.unix_seconds)
            case ServiceChanged(governed=True) as changed:
                self._services.setdefault(changed.device, set()).add(changed.service)
            case PredictionMade(device=device, prediction=one):
                self._predictions[device] = predicted(self._of(device), one)
            case PredictionEnded() as ended:
                self._take_verdict(ended)
            case _:
                pass

    def told(self, now_unix_seconds: float) -> Recollection:
        """Return what was learned."""
        return Recollection(
            rhythms={
                service: {module: turned(rhythm, now_unix_seconds) for module, rhythm in known.items()}
                for service, known in self._rhythms.items()
            },
            services={device: frozenset(names) for device, names in self._services.items()},
            predictions={device: replace(found, ended=()) for device, found in self._predictions.items()},
        )

    def _take_demand(self, demanded: Demanded, unix_seconds: float) -> None:
        known = self._rhythms.setdefault(demanded.service, {})
        for module in demanded.uses:
            known[module] = used(rhythm_of(self._rhythms, demanded.service, module), unix_seconds)

    def _take_verdict(self, ended: PredictionEnded) -> None:
        found = self._of(ended.device)
        named = [one for one in found.open if (one.service, one.module) == (ended.service, ended.module)]
        one = named[0] if named else _forgotten(ended)
        still = tuple(other for other in found.open if other is not one)
        verdict = Verdict(prediction=replace(one, ground=ended.ground), hit=ended.hit)
        self._predictions[ended.device] = counted(replace(found, open=still), (verdict,))

    def _of(self, device: DeviceId) -> Predictions:
        return self._predictions.get(device, Predictions())


def _forgotten(ended: PredictionEnded) -> Prediction:
    """Return a prediction whose beginning the journal does not reach back to."""
    return Prediction(
        service=ended.service, module=ended.module, ground=ended.ground, uses=0, until_unix_seconds=0.0, came=True
    )


def _entries(paths: Sequence[Path], bytes_maximum: int) -> Iterator[Entry]:
    """Yield the entries that tell, from the newest part of the journal, in the order of the files."""
    for path, skip_bytes in _newest(paths, bytes_maximum):
        try:
            yield from _entries_in(path, skip_bytes)
        except OSError:
            # It was rotated away meanwhile, or is not ours to read.
            continue


def _newest(paths: Sequence[Path], bytes_maximum: int) -> list[tuple[Path, int]]:
    """Return the newest files that are so much together, and how much of each is left out at its beginning."""
    found: list[tuple[Path, int]] = []
    left_bytes = bytes_maximum
    for path in reversed(paths):
        try:
            size_bytes = path.stat().st_size
        except OSError:
            continue
        if left_bytes > 0:
            found.append((path, max(0, size_bytes - left_bytes)))
        left_bytes -= size_bytes
    return found[::-1]


def _entries_in(path: Path, skip_bytes: int) -> Iterator[Entry]:
    with path.open("rb") as file:
        file.seek(skip_bytes)
        if skip_bytes:
            file.readline()
        for line in file:
            if any(kind in line[:HEAD_BYTES] for kind in _KINDS):
                entry = _entry(line)
                if entry is not None:
                    yield entry


def _entry(line: bytes) -> Entry | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    return _demand(values) if values.get("kind") == "demand" else entry_of(values)


def _demand(values: dict[str, Any]) -> Entry | None:
    """Return what a line says of uses; most of the lines are these, and the codec would take four times as long."""
    try:
        if values["schema"] != SCHEMA:
            return None
        uses = {ModuleName(str(module)): int(times) for module, times in values["uses"].items()}
        record = Demanded(
            service=ServiceName(str(values["service"])), uses=uses, restore_waits=0, restore_wait_seconds=0.0
        )
        return Entry(unix_seconds=float(values["time"]), record=record)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
