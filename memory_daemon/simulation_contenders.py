"""The policies that can be tried on a trace: the daemon's own, and what others do, on the same terms.

Pure. The rivals are what is in use elsewhere: nothing at all, evicting what was used longest ago below one threshold,
unloading what was idle for some time, and giving everything back at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from memory_daemon.marks import Policy, resolve
from memory_daemon.modules import last_use_age_seconds
from memory_daemon.orders import DeviceState, Observation, ServiceView
from memory_daemon.placements import compose
from memory_daemon.policy import decide
from memory_daemon.simulation_contender import Step
from memory_daemon.types import (
    MemorySample,
    ModuleName,
    ModuleStatus,
    Override,
    OverrideKind,
    Placement,
    ServiceName,
    Tier,
    Urgency,
    Wish,
)

IDLE_SECONDS = 60.0
"""A minute; Ollama's five would hardly ever act on traces of minutes."""
RIVAL_SECONDS = 1.0
"""How often rivals look; most poll once a second or slower."""


class Governed:
    """The daemon's own policy."""

    def __init__(self, policy: Policy, *, name: str = "greenroom") -> None:
        self.name = name
        self._policy = policy
        self._state = DeviceState()

    def __repr__(self) -> str:
        return f"<Governed {self.name}>"

    @property
    def shortest_seconds(self) -> float:
        """The shortest time between two of its steps."""
        return self._policy.minimum_period_seconds

    @property
    def predictions(self) -> tuple[int, int]:
        """How many modules it has brought home ahead of need, and how many of them were used."""
        found = self._state.predictions
        return found.hits + found.misses + len(found.open), found.hits

    def step(self, seen: Observation, again: Callable[[], Observation]) -> Step:
        """Decide as the loop does: nothing is done before a second reading has confirmed it."""
        after, decision = decide(self._state, seen, self._policy)
        if decision.resample:
            seen = again()
            after, decision = decide(self._state, seen, self._policy)
        self._state = after
        asked = {service: after.services[service].trim for service in decision.trim}
        return Step(
            wishes={view.service: self._wish(view, seen) for view in seen.services},
            next_seconds=decision.next_seconds,
            trims={service: trim.number for service, trim in asked.items() if trim is not None},
        )

    def _wish(self, view: ServiceView, seen: Observation) -> Wish:
        known = self._state.services.get(view.service)
        orders = {} if known is None or known.instance_id != view.instance_id else known.orders
        held = {module: _hold(service, module) for service, module in seen.overridden if service == view.service}
        return compose(view.report.modules, orders, held, self._state.budgets.get(view.service))


def _hold(service: ServiceName, module: ModuleName) -> Override:
    return Override(service=service, module=module, kind=OverrideKind.HOLD)


@dataclass(slots=True, kw_only=True)
class Nothing:
    """No policy: everything stays, and comes home when it is asked for."""

    name: str = "none"
    shortest_seconds: float = RIVAL_SECONDS
    predictions: tuple[int, int] = (0, 0)

    def step(self, seen: Observation, again: Callable[[], Observation]) -> Step:
        """Want nothing."""
        del again
        return Step(wishes={view.service: Wish() for view in seen.services}, next_seconds=RIVAL_SECONDS)


@dataclass(slots=True, kw_only=True)
class LongestUnused:
    """One threshold: below it modules leave at once, the longest unused first, until it is reached again."""

    policy: Policy
    name: str = "threshold"
    shortest_seconds: float = RIVAL_SECONDS
    predictions: tuple[int, int] = (0, 0)

    def step(self, seen: Observation, again: Callable[[], Observation]) -> Step:
        """Want enough away that the threshold is reached."""
        del again
        need_bytes = _need_bytes(seen, self.policy)
        away = {(view.service, one.module) for view, one in _modules(seen) if not one.at_home}
        for view, one in sorted(
            _modules(seen), key=lambda pair: -last_use_age_seconds(pair[1], seen.sample.unix_seconds)
        ):
            if need_bytes > 0 and one.at_home and not one.claims and not one.pinned:
                need_bytes -= one.home_bytes
                away.add((view.service, one.module))
        return Step(wishes=_away(seen, away), next_seconds=RIVAL_SECONDS)


@dataclass(slots=True, kw_only=True)
class IdleTimeout:
    """What was not used for a minute leaves, whether or not anybody needs its memory."""

    name: str = "idle timeout"
    shortest_seconds: float = RIVAL_SECONDS
    begun_seconds: float | None = None
    predictions: tuple[int, int] = (0, 0)

    def step(self, seen: Observation, again: Callable[[], Observation]) -> Step:
        """Want what is idle away; what was never used is idle since the beginning."""
        del again
        now_seconds = seen.sample.seconds
        self.begun_seconds = now_seconds if self.begun_seconds is None else self.begun_seconds
        age_seconds = now_seconds - self.begun_seconds
        idle = {
            (view.service, one.module)
            for view, one in _modules(seen)
            if not one.pinned and min(last_use_age_seconds(one, seen.sample.unix_seconds), age_seconds) >= IDLE_SECONDS
        }
        return Step(wishes=_away(seen, idle), next_seconds=RIVAL_SECONDS)


@dataclass(slots=True, kw_only=True)
class Everything:
    """All or nothing: below the threshold everything leaves, and all comes home when there is room for all."""

    policy: Policy
    asleep: bool = False
    name: str = "evict everything"
    shortest_seconds: float = RIVAL_SECONDS
    predictions: tuple[int, int] = (0, 0)

    def step(self, seen: Observation, again: Callable[[], Observation]) -> Step:
        """Want all away, or all home."""
        del again
        away_bytes = sum(one.home_bytes for _, one in _modules(seen) if not one.at_home)
        if _need_bytes(seen, self.policy) > 0:
            self.asleep = True
        elif _need_bytes(seen, self.policy) + away_bytes <= 0:
            self.asleep = False
        tiers = {
            (view.service, one.module): one.away if self.asleep and not one.pinned else one.home
            for view, one in _modules(seen)
        }
        return Step(wishes=_placed(seen, tiers), next_seconds=RIVAL_SECONDS)


def rivals(policy: Policy) -> tuple[Nothing, LongestUnused, IdleTimeout, Everything]:
    """Return all rivals, with that policy's `low` as the threshold of those that have one."""
    return Nothing(), LongestUnused(policy=policy), IdleTimeout(), Everything(policy=policy)


def _modules(seen: Observation) -> list[tuple[ServiceView, ModuleStatus]]:
    return [(view, one) for view in seen.services for one in view.report.modules if one.home_bytes]


def _need_bytes(seen: Observation, policy: Policy) -> int:
    """Return what is missing below `low`; unreadable memory needs nothing."""
    if not isinstance(seen.sample, MemorySample):
        return 0
    return resolve(policy, seen.sample.total_bytes).low_bytes - seen.sample.free_bytes


def _away(seen: Observation, away: set[tuple[ServiceName, ModuleName]]) -> dict[ServiceName, Wish]:
    return _placed(
        seen,
        {(view.service, one.module): one.away for view, one in _modules(seen) if (view.service, one.module) in away},
    )


def _placed(seen: Observation, tiers: Mapping[tuple[ServiceName, ModuleName], Tier]) -> dict[ServiceName, Wish]:
    return {
        view.service: Wish(
            placements=tuple(
                Placement(module=one.module, tier=tiers[view.service, one.module], urgency=Urgency.WHEN_UNCLAIMED)
                for one in view.report.modules
                if (view.service, one.module) in tiers
            )
        )
        for view in seen.services
    }
