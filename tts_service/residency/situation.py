"""Where every module is, who uses it and what is wanted: the whole input of a decision, as one immutable value.

`placement` decides on it, the manager carries moves out and notes here what came of them. A module that is on its way
keeps the tier that it came from until it has arrived.
"""

from dataclasses import dataclass, field, replace

from tts_service.residency.leases import Leases
from tts_service.residency.types import Authority, ModuleState, Tier
from tts_service.residency.wishes import Wishes, budget_bytes, wish_for
from tts_service.types import ModuleName

RETRY_FIRST_SECONDS = 0.05
RETRY_LONGEST_SECONDS = 0.5
"""Rests between attempts to restore without memory: the first is what an eviction takes, the longest still answers
within a request's patience when another process lets go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A module's way from one tier to another, and who decided it."""

    module: ModuleName
    source: Tier
    target: Tier
    authority: Authority


@dataclass(frozen=True, slots=True, kw_only=True)
class Residence:
    """One module. `home_bytes` is what it holds at home when it is there, 0 until that has been measured.

    `guest`: it came home for a request although somebody wants it away.
    """

    module: ModuleName
    rests_at_home: bool
    tier: Tier
    home_bytes: int
    state: ModuleState = ModuleState.RESTING
    moved_by: Authority = Authority.DEFAULT
    home_since_seconds: float = 0.0
    guest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A restore found no memory: no more than `ceiling_bytes` fit now, and the next attempt is at `retry_seconds`."""

    ceiling_bytes: int
    retry_seconds: float
    rest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that a decision depends on, but for the time. `residences` are in the order of the data path.

    `leaving`: modules that take no new leases because they must make room; kept, so that a choice once made is not
    changed while their last leases end.
    """

    home: Tier
    away: Tier
    residences: tuple[Residence, ...]
    wishes: Wishes
    leases: Leases = field(default_factory=Leases)
    leaving: frozenset[ModuleName] = frozenset()
    shortage: Shortage | None = None


def residence_of(situation: Situation, module: ModuleName) -> Residence:
    """Return one module's residence."""
    return next(residence for residence in situation.residences if residence.module == module)


def settled_home(situation: Situation, residence: Residence) -> bool:
    """Tell whether a module is at home and not on its way."""
    return residence.tier is situation.home and residence.state is ModuleState.RESTING


def bytes_of(situation: Situation, modules: frozenset[ModuleName]) -> int:
    """Return what these modules hold at home, were they there."""
    return sum(residence.home_bytes for residence in situation.residences if residence.module in modules)


def fits(situation: Situation, modules: frozenset[ModuleName]) -> bool:
    """Tell whether the budget in force holds these modules."""
    budget = budget_bytes(situation.wishes)
    return budget is None or bytes_of(situation, modules) <= budget


def home_bytes(situation: Situation) -> int:
    """Return what modules hold in their home tier."""
    return sum(residence.home_bytes for residence in situation.residences if residence.tier is situation.home)


def occupied_bytes(situation: Situation) -> int:
    """Return what modules hold in their home tier, or are about to."""
    return sum(
        residence.home_bytes
        for residence in situation.residences
        if residence.tier is situation.home or residence.state is ModuleState.RESTORING
    )


def begin_move(situation: Situation, move: Move) -> Situation:
    """Note that a module has set out."""
    wish = wish_for(situation.wishes, move.module, home=situation.home)
    restoring = move.target is situation.home
    return _with(
        situation,
        replace(
            residence_of(situation, move.module),
            state=ModuleState.RESTORING if restoring else ModuleState.EVICTING,
            moved_by=move.authority,
            guest=restoring and wish is not None and wish.tier is not situation.home,
        ),
    )


def arrive(situation: Situation, move: Move, *, home_bytes: int, now_seconds: float) -> Situation:
    """Note that a module has arrived; if it came home, memory is not short any more."""
    residence = residence_of(situation, move.module)
    arrived = _with(
        situation,
        replace(
            residence,
            tier=move.target,
            state=ModuleState.RESTING,
            home_bytes=home_bytes,
            home_since_seconds=now_seconds if move.target is situation.home else residence.home_since_seconds,
        ),
    )
    return replace(arrived, shortage=None) if move.target is situation.home else arrived


def break_down(situation: Situation, module: ModuleName) -> Situation:
    """Note that a module could not be brought back."""
    return _with(situation, replace(residence_of(situation, module), state=ModuleState.BROKEN))


def fall_short(situation: Situation, module: ModuleName, *, now_seconds: float) -> Situation:
    """Note that there was no memory to bring a module back: what is home now is all that fits, until the retry."""
    stayed = _with(situation, replace(residence_of(situation, module), state=ModuleState.RESTING))
    last = situation.shortage
    rest_seconds = RETRY_FIRST_SECONDS if last is None else min(2 * last.rest_seconds, RETRY_LONGEST_SECONDS)
    shortage = Shortage(
        ceiling_bytes=home_bytes(stayed), retry_seconds=now_seconds + rest_seconds, rest_seconds=rest_seconds
    )
    return replace(stayed, shortage=shortage)


def _with(situation: Situation, changed: Residence) -> Situation:
    residences = tuple(changed if old.module == changed.module else old for old in situation.residences)
    return replace(situation, residences=residences)
