"""What is and what is to be done: the situation, the last decision, who waits, what is to move, what was counted.

Not thread-safe and without a clock: the manager guards it with its lock and says what time it is. Whatever must happen
outside that lock is returned.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from tts_service.errors import ServiceError
from tts_service.residency import growth, leases, waiting
from tts_service.residency.departures import BUDGET, LEASED, directed
from tts_service.residency.history import MoveTally
from tts_service.residency.module_store import Brought
from tts_service.residency.mover import Evicted
from tts_service.residency.pauses import paused_after
from tts_service.residency.placement import MOVING, Decision, decide, left_by
from tts_service.residency.situation import (
    Move,
    Situation,
    arrive,
    away_from_home,
    begin_move,
    break_down,
    bytes_of,
    fall_short,
    in_use,
    occupied_bytes,
    residence_of,
    resized,
    restored_from,
    settled_home,
)
from tts_service.residency.types import Authority, Directive, ModuleState, Tier
from tts_service.residency.waiting import Outcome, Waiter, WaitingRoom
from tts_service.residency.wishes import Wishes, budget_bytes, pinned
from tts_service.types import ModuleName

BROKEN = "broken"
"""Why a module that is placed at home is not there, besides the reasons of a pending move."""


class Register:
    """The state behind the manager.

    `opened` is False while modules are loaded for the first time: nothing is decided before all have been measured.
    """

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.decision = Decision()
        self.tally = MoveTally()
        self.jobs: deque[Move] = deque()
        self.opened = False
        self.applied_version = 0
        self.sessions = 0
        self.queued_utterances = 0
        self.claims_ended = 0
        self._closed = False
        self._room = WaitingRoom()

    def __repr__(self) -> str:
        return f"<Register {self.situation.leases!r} | {len(self.jobs)} jobs | {self._room!r}>"

    def settle(self, *, now_seconds: float) -> list[Outcome]:
        """Decide until nothing more follows: grant, refuse, and queue moves. Returns who must be told."""
        if self._closed:
            return self._refuse(self._room.tickets(), waiting.closing_error())
        if not self.opened:
            return []
        outcomes = [*self._dismiss_overdue(now_seconds=now_seconds), *self._refuse_growths()]
        while True:
            self.decision = decide(self.situation, now_seconds=now_seconds)
            self.situation = left_by(self.situation, self.decision)
            followed = [*self._refuse_hopeless(), *self._grant(now_seconds=now_seconds)]
            self._set_out()
            if not followed and not self.decision.moves:
                break
            outcomes += followed
        outcomes += self._grant_growths()
        directive = self.situation.wishes.directive
        if directive is not None and self.decision.settled:
            self.applied_version = directive.version
        return outcomes

    def lend(self, modules: frozenset[ModuleName], *, now_seconds: float) -> bool:
        """Begin a lease at once if nothing speaks against it."""
        ready = self.opened and modules <= self.decision.ready
        if ready:
            self._replace_leases(leases.begin(self.situation.leases, modules, now_seconds=now_seconds))
        return ready

    def give_back(self, modules: frozenset[ModuleName]) -> bool:
        """End a lease; tells whether that may let something move."""
        self._replace_leases(leases.end(self.situation.leases, modules))
        return not self.decision.restless.isdisjoint(modules)

    def claim(self, modules: frozenset[ModuleName]) -> None:
        """Note an open utterance's interest."""
        self._replace_leases(leases.claim(self.situation.leases, modules))

    def release(self, modules: frozenset[ModuleName]) -> None:
        """Note that the interest is gone."""
        self.claims_ended += 1
        self._replace_leases(leases.release(self.situation.leases, modules))

    def keep(self, module: ModuleName, count: int) -> None:
        """Note that more, or fewer if negative, have something in a module that must not be lost."""
        self._replace_leases(leases.keep(self.situation.leases, module, count))

    def resize(self, module: ModuleName, change_bytes: int) -> None:
        """Note that a module holds more at home, or less if negative, or will when it is there."""
        self.situation = resized(self.situation, module, change_bytes)

    def wait(
        self, modules: frozenset[ModuleName], *, holds: bool, now_seconds: float, timeout_seconds: float
    ) -> Waiter:
        """Let a request wait its turn."""
        waiter = self._room.enter(modules, holds=holds, now_seconds=now_seconds, timeout_seconds=timeout_seconds)
        self._replace_leases(leases.ask(self.situation.leases, waiter.request))
        return waiter

    def grow(self, module: ModuleName, byte_count: int) -> bool:
        """Book so many bytes more for a module at home if they fit; tells whether they do."""
        grown = growth.taken(self.situation, module, byte_count)
        if fits := growth.has_room(grown, occupied_bytes(grown)):
            self.situation = grown
        return fits

    def make_room(self, wanted: growth.RoomWantedError, *, now_seconds: float, timeout_seconds: float) -> Waiter | None:
        """Let idle modules leave for a growth, which waits; None if that would not make room."""
        modules = frozenset({wanted.module})
        waiter = self._room.enter(modules, holds=False, now_seconds=now_seconds, timeout_seconds=timeout_seconds)
        begun = growth.begun(self.situation, wanted, ticket=waiter.request.ticket)
        if begun is None:
            self._room.leave(waiter.request.ticket)
            return None
        self.situation = begun
        return waiter

    def withdraw(self, waiter: Waiter) -> bool:
        """Take a request back; False if it has been served or refused meanwhile."""
        waits = waiter.request.ticket in self._room
        self._room.leave(waiter.request.ticket)
        self._forget((waiter.request.ticket,))
        return waits

    def wish(self, wishes: Wishes) -> None:
        """Put other wishes in force."""
        self.situation = replace(self.situation, wishes=wishes)

    def direct(self, directive: Directive | None) -> tuple[ModuleName, ...]:
        """Put a directive in force, or none; another epoch's version numbers mean nothing any more.

        Returns the modules whose placement by an operator ended with that.
        """
        before = self.situation.wishes
        if directive is None or before.directive is None or before.directive.epoch != directive.epoch:
            self.applied_version = 0
        self.situation = directed(self.situation, directive)
        return tuple(module for module in before.placed if module not in self.situation.wishes.placed)

    def send_away(self, modules: Iterable[ModuleName], authority: Authority) -> tuple[ModuleName, ...]:
        """Let modules that are at home and not leased leave at once, and return those."""
        sent: list[ModuleName] = []
        for module in modules:
            residence = residence_of(self.situation, module)
            if self.opened and settled_home(self.situation, residence) and not in_use(self.situation, module):
                target = away_from_home(self.situation, residence)
                move = Move(module=module, source=residence.tier, target=target, authority=authority)
                self.set_out(move)
                self.jobs.append(move)
                sent.append(module)
        return tuple(sent)

    def came(self, move: Move, brought: Brought, *, now_seconds: float) -> None:
        """Note that a module has come nearer; at home, that was a restore."""
        if move.target is self.situation.home:
            self.tally.restored(move.module, home_bytes=brought.home_bytes, seconds=brought.seconds, source=move.source)
            if move.source is not Tier.HOST and brought.copy_seconds is not None:
                self.tally.timed(move.module, seconds=brought.copy_seconds, source=Tier.HOST)
        at_home, on_host = brought.home_bytes, brought.host_bytes
        self.situation = paused_after(self.situation, move, took_seconds=brought.seconds, now_seconds=now_seconds)
        self.situation = arrive(self.situation, move, home_bytes=at_home, host_bytes=on_host, now_seconds=now_seconds)

    def went(self, move: Move, evicted: Evicted, *, now_seconds: float) -> None:
        """Note that a module has gone further away; from home, that was an eviction."""
        if move.source is self.situation.home:
            self.tally.evicted(move.module, released_bytes=evicted.released_bytes, seconds=evicted.seconds)
        known_bytes = residence_of(self.situation, move.module).home_bytes
        self.situation = arrive(self.situation, move, home_bytes=known_bytes, now_seconds=now_seconds)

    def set_out(self, move: Move) -> None:
        """Note that a module is on its way."""
        self.situation = begin_move(self.situation, move)

    def fell_short(self, module: ModuleName, *, tier: Tier, now_seconds: float) -> None:
        """Note that there was no memory to bring a module back beyond a tier."""
        self.situation = fall_short(self.situation, module, tier=tier, now_seconds=now_seconds)

    def broke_down(self, module: ModuleName, *, tier: Tier) -> list[Outcome]:
        """Note that a module could not be brought back beyond a tier, and refuse those who wait for it."""
        self.situation = break_down(self.situation, module, tier=tier)
        return self._refuse(self._room.waiting_for(module), waiting.broken_error(module))

    def close(self) -> None:
        """Make no more decisions: all who wait, and who come later, are refused."""
        self.jobs.clear()
        self._closed = True

    def next_seconds(self) -> float | None:
        """Return when time alone changes something."""
        times = (self.decision.wake_seconds, self._room.next_end_seconds())
        return min((time for time in times if time is not None), default=None)

    def restore_seconds(self, module: ModuleName) -> float | None:
        """Return how long a module takes to come home from where it is, None before that has been measured."""
        residence = residence_of(self.situation, module)
        return self.tally.restore_seconds(module, restored_from(self.situation, residence))

    def obstacle(self, module: ModuleName, tier: Tier | None) -> str:
        """Return why a module is not where an operator put it, empty if it is.

        While modules are loaded for the first time, none has come to rest: each is brought home to be measured.
        """
        residence = residence_of(self.situation, module)
        if tier is None or (self.opened and residence.tier is tier and residence.state is ModuleState.RESTING):
            return ""
        if residence.state is ModuleState.BROKEN:
            return BROKEN
        return next((move.reason for move in self.decision.pending if move.module == module), MOVING)

    def goes_on(self, module: ModuleName, tier: Tier | None) -> bool:
        """Tell whether a placed module will be there soon: a claim may last for long, and so may a budget too small."""
        obstacle = self.obstacle(module, tier)
        if obstacle == BUDGET:
            budget = budget_bytes(self.situation.wishes)
            kept = pinned(self.situation.wishes, home=self.situation.home)
            return budget is None or bytes_of(self.situation, kept) <= budget
        return obstacle in (MOVING, LEASED)

    def visible(self) -> tuple[object, ...]:
        """Return what listeners are told about when it changes: not leases, which come and go with every step."""
        return (
            tuple((residence.tier, residence.state) for residence in self.situation.residences),
            self.situation.wishes,
            self.decision.pending,
            self.applied_version,
            self.sessions,
            self.queued_utterances,
        )

    def _set_out(self) -> None:
        for move in self.decision.moves:
            self.set_out(move)
            self.jobs.append(move)

    def _grant(self, *, now_seconds: float) -> list[Outcome]:
        outcomes = []
        for request in leases.grantable(self.situation.leases, self.decision.ready):
            self._replace_leases(leases.grant(self.situation.leases, request, now_seconds=now_seconds))
            self.tally.waited(self._room.waited_seconds(request.ticket, now_seconds=now_seconds))
            outcomes.append(self._room.serve(request.ticket))
        return outcomes

    def _grant_growths(self) -> list[Outcome]:
        waiting_ones = [each.ticket for each in self.situation.growths if each.ticket in self._room]
        fits = waiting_ones and growth.has_room(self.situation, occupied_bytes(self.situation))
        return [self._room.serve(ticket) for ticket in waiting_ones] if fits else []

    def _refuse_growths(self) -> list[Outcome]:
        waiting_ones = [each for each in growth.hopeless(self.situation) if each.ticket in self._room]
        return [one for each in waiting_ones for one in self._refuse((each.ticket,), growth.hopeless_error(each))]

    def _refuse_hopeless(self) -> list[Outcome]:
        budget = budget_bytes(self.situation.wishes) or 0
        return [
            outcome
            for each in self.decision.hopeless
            for outcome in self._refuse((each.request.ticket,), waiting.hopeless_error(each, budget_bytes=budget))
        ]

    def _dismiss_overdue(self, *, now_seconds: float) -> list[Outcome]:
        return [
            outcome
            for each in self._room.overdue(now_seconds=now_seconds)
            for outcome in self._refuse((each.request.ticket,), waiting.overdue_error(each, self.decision))
        ]

    def _refuse(self, tickets: tuple[int, ...], error: ServiceError) -> list[Outcome]:
        self._forget(tickets)
        return [self._room.refuse(ticket, error) for ticket in tickets]

    def _forget(self, tickets: tuple[int, ...]) -> None:
        self.situation = growth.ended(self.situation, frozenset(tickets))
        self._replace_leases(leases.withdraw(self.situation.leases, frozenset(tickets)))

    def _replace_leases(self, changed: leases.Leases) -> None:
        self.situation = replace(self.situation, leases=changed)
