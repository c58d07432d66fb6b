"""The tick: sample -> decide -> direct -> record.

It runs at its own pace in the main thread, and waits for nobody: services are behind links that take the newest wish,
operators behind stores that are read without waiting, watchers behind a board. What is to be done is decided in
`policy`; this file only carries it from one to the other. Where nothing has changed since nothing came of it, it is not
decided again (`calm`), and the last word is said again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Protocol

from memory_daemon.board import Board
from memory_daemon.calm import calm_after, gone_on
from memory_daemon.director import Director
from memory_daemon.gpu_memory import GpuEvent, ProcessUse
from memory_daemon.journal_records import Basis
from memory_daemon.kept_policy import KeptPolicy
from memory_daemon.link_view import LinkView
from memory_daemon.marks import Policy
from memory_daemon.orders import DeviceState, HostState, Observation, ServiceView
from memory_daemon.override_store import OverrideStore
from memory_daemon.policy import decide
from memory_daemon.recollection import Recollection
from memory_daemon.recorder import Recorder
from memory_daemon.store import PolicyStore
from memory_daemon.types import HOST, DeviceId, Override, Sample, SampleFailed
from memory_daemon.usage import HostReading
from memory_daemon.watched import Watched, device_status, device_words, seen_on


class MemorySampler(Protocol):
    """Reads memory."""

    def sample(self, device: DeviceId) -> Sample:
        """Read one device's memory now."""

    def processes(self, device: DeviceId) -> tuple[ProcessUse, ...]:
        """Return who uses a device, to explain a decision; it is told rarely."""

    def events(self) -> tuple[GpuEvent, ...]:
        """Return what has happened to devices; it is told rarely."""


class KnownServices(Protocol):
    """The services that there are; nothing in it waits."""

    def scan(self) -> None:
        """Look for services that came or went."""

    def views(self) -> tuple[LinkView, ...]:
        """Return what is known of each."""


class Wakeup:
    """Ends the rest between two ticks early. Safe to call from a signal handler: a SimpleQueue takes no lock there."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: SimpleQueue[None] = SimpleQueue()
        self.stopped = False

    def __repr__(self) -> str:
        return f"<Wakeup {'stopped' if self.stopped else 'waiting'}>"

    def wake(self) -> None:
        """Ask for a tick soon."""
        if self._calls.empty():
            self._calls.put(None)

    def stop(self) -> None:
        """Ask for the end."""
        self.stopped = True
        self._calls.put(None)

    def rest(self, least_seconds: float, most_seconds: float) -> None:
        """Rest until called, but no shorter and no longer than that; a stop ends it at once."""
        begun_seconds = self._clock()
        until_seconds = begun_seconds + max(least_seconds, most_seconds)
        while not self.stopped:
            left_seconds = until_seconds - self._clock()
            if left_seconds <= 0:
                return
            try:
                self._calls.get(timeout=left_seconds)
            except Empty:
                return
            until_seconds = min(until_seconds, begun_seconds + least_seconds)


class Loop:
    """The daemon's one activity."""

    def __init__(
        self,
        *,
        sampler: MemorySampler,
        services: KnownServices,
        policies: PolicyStore,
        overrides: OverrideStore,
        director: Director,
        recorder: Recorder,
        board: Board,
        clock: Callable[[], float],
        devices: tuple[DeviceId, ...],
        floors_bytes: Mapping[str, int],
        recollection: Recollection | None = None,
        host_reading: Callable[[], HostReading | None] = lambda: None,
    ) -> None:
        self._sampler = sampler
        self._services = services
        self._policies = policies
        self._overrides = overrides
        self._director = director
        self._recorder = recorder
        self._board = board
        self._clock = clock
        self._devices = devices
        self._floors_bytes = floors_bytes
        self._host_reading = host_reading
        self._recollection = Recollection() if recollection is None else recollection
        self._watched: dict[DeviceId, Watched] = {}
        self._host = HostState()

    def __repr__(self) -> str:
        pressures = " ".join(f"{device}={watched.decision.pressure.value}" for device, watched in self._watched.items())
        return f"<Loop {pressures or 'not begun'} | {self._director!r}>"

    def run(self, wakeup: Wakeup, *, upkeep: Callable[[str], float | None] = lambda _: None) -> None:
        """Tick until stopped; after each tick `upkeep` hears how it stands, and says when it wants to hear again."""
        while not wakeup.stopped:
            rest_seconds = self.tick()
            least_seconds = self._policies.current.policy.minimum_period_seconds
            hear_seconds = upkeep(self.summary)
            if hear_seconds is not None:
                rest_seconds, least_seconds = min(rest_seconds, hear_seconds), min(least_seconds, hear_seconds)
            wakeup.rest(least_seconds, rest_seconds)

    @property
    def summary(self) -> str:
        """How it stands, in one line for people."""
        governed = sum(view.governed for view in self._board.status.services)
        devices = ", ".join(device_words(watched) for watched in self._watched.values())
        return f"governs {governed} service{'' if governed == 1 else 's'}; {devices}"

    def tick(self) -> float:
        """Sample, decide, direct and record once; returns how long to rest."""
        kept = self._policies.current
        self._recorder.expired(self._overrides.expire())
        self._recorder.thawed(self._overrides.expire_freeze())
        overrides = self._overrides.active()
        self._services.scan()
        views = self._services.views()
        self._recorder.services(views)
        self._recorder.happened(self._sampler.events())
        self._decide_all(views, overrides, kept.policy)
        self._direct_all(views, overrides, kept.policy)
        self._explain()
        self._recorder.host(self._host_reading(), short=self._host.short)
        self._publish(kept, overrides)
        return self._rest_seconds(kept.policy)

    def _decide_all(self, views: tuple[LinkView, ...], overrides: tuple[Override, ...], policy: Policy) -> None:
        devices = dict.fromkeys((*self._devices, *(view.device.device for view in views if view.governed)))
        for device in self._watched.keys() - devices.keys():
            self._recollection = self._recollection.kept(device, self._watched[device].state)
        seen = {device: seen_on(device, views, self._floors_bytes) for device in devices}
        self._watched = {device: self._decide(device, seen[device], overrides, policy) for device in devices}

    def _decide(
        self, device: DeviceId, services: tuple[ServiceView, ...], overrides: tuple[Override, ...], policy: Policy
    ) -> Watched:
        before = self._watched.get(device)
        if before is not None and self._is_backing_off(before):
            return replace(before, decision=replace(before.decision, reason=""))
        known = self._recollection.state(device) if before is None else before.state
        # There is one host: what one device's services were asked for, the next device's need not give as well.
        state = known if known.host is self._host else replace(known, host=self._host)
        overridden = frozenset((override.service, override.module) for override in overrides)
        seen = Observation(
            sample=self._sampler.sample(device),
            services=services,
            overridden=overridden,
            frozen=self._overrides.freeze() is not None,
            host=None if device == HOST else self._host_reading(),
        )
        calm = None if before is None else self._go_on(before, state, seen, policy)
        if calm is not None:
            return calm
        return self._decide_anew(state, seen, policy)

    def _go_on(self, before: Watched, state: DeviceState, seen: Observation, policy: Policy) -> Watched | None:
        """Take the reading in where nothing has changed and nothing is awaited; None where it has to be decided."""
        gone = None if before.calm is None else gone_on(before.calm, state, before.decision, seen, policy)
        if gone is None:
            return None
        after, decision = gone
        self._recorder.decided(Basis(state=state, seen=seen, policy=policy), decision)
        self._host = after.host
        return replace(before, state=after, sample=seen.sample, decision=decision, anew=False)

    def _decide_anew(self, state: DeviceState, seen: Observation, policy: Policy) -> Watched:
        after, decision = decide(state, seen, policy)
        if decision.resample:
            self._recorder.decided(Basis(state=state, seen=seen, policy=policy), decision)
            # Memory may have come back while it was decided: nothing moves on a reading that is not confirmed.
            seen = replace(seen, sample=self._sampler.sample(seen.sample.device), confirmed=True)
            after, decision = decide(state, seen, policy)
        self._recorder.decided(Basis(state=state, seen=seen, policy=policy), decision)
        self._recorder.foreseen(seen.sample.device, after.predictions)
        self._director.note(seen.sample, decision)
        self._host = after.host
        calm = calm_after(after, seen, policy, decision)
        return Watched(state=after, sample=seen.sample, decision=decision, calm=calm)

    def _direct_all(self, views: tuple[LinkView, ...], overrides: tuple[Override, ...], policy: Policy) -> None:
        governed = [view for view in views if view.governed]
        self._director.forget(frozenset(view.service for view in governed))
        for view in governed:
            watched = self._watched[view.device.device]
            if not watched.anew and self._director.repeat(view, overrides, policy):
                continue
            if view.report is not None:
                self._director.direct(
                    view,
                    view.report,
                    state=watched.state,
                    decision=watched.decision,
                    overrides=overrides,
                    policy=policy,
                    now=watched.sample,
                )
        self._director.note_overrides(overrides)

    def _explain(self) -> None:
        """Record who uses a device that modules have to leave; last, because the driver takes milliseconds to tell."""
        for device, watched in self._watched.items():
            if watched.decision.evict:
                self._recorder.processes(device, self._sampler.processes(device))

    def _publish(self, kept: KeptPolicy, overrides: tuple[Override, ...]) -> None:
        self._board.publish(
            replace(
                self._board.status,
                kept=kept,
                devices=tuple(device_status(watched) for watched in self._watched.values()),
                services=self._services.views(),
                overrides=overrides,
                decisions=self._director.decided,
                wishes=self._director.wishes,
                freeze=self._overrides.freeze(),
                host=self._host_reading(),
                host_short=self._host.short,
            )
        )

    def _is_backing_off(self, watched: Watched) -> bool:
        failed = isinstance(watched.sample, SampleFailed)
        return failed and self._clock() < watched.sample.seconds + watched.decision.next_seconds

    def _rest_seconds(self, policy: Policy) -> float:
        """Return the time until a device is due, but no longer than links need a sign of life."""
        now_seconds = self._clock()
        due = [watched.sample.seconds + watched.decision.next_seconds for watched in self._watched.values()]
        return max(0.0, min([seconds - now_seconds for seconds in due] + [policy.renewal_seconds]))
