"""Where every module is, who uses it and what is wanted: the whole input of a decision, as one immutable value.

`placement` decides on it, the manager carries moves out. A module on its way keeps the tier that it came from.
"""

from dataclasses import dataclass, field, replace
from typing import assert_never

from tts_service.residency.leases import Leases
from tts_service.residency.types import Authority, ModuleState, Tier
from tts_service.residency.wishes import Wishes, budget_bytes, wish_for
from tts_service.types import ModuleName

RETRY_FIRST_SECONDS = 0.05
RETRY_LONGEST_SECONDS = 0.5
"""Rests between attempts to restore without memory: an eviction's time, and what a request has patience for."""


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

    `host_bytes` is what it holds in host memory besides, where home is DEVICE, on HOST as well as at home: the weights
    that it is restored from. `bound_for` is where a module on its way goes; None means home for one that restores, away
    for one that leaves. `guest`: it came home for a request although somebody wants it away. `rest_tier` is where it is
    configured to rest; None: it stays where it is, once away. `is_scratch`: it is work space, worth nothing between two
    uses. `linger_seconds`: it leaves sooner than others that rest away.
    """

    module: ModuleName
    rests_at_home: bool
    tier: Tier
    home_bytes: int
    state: ModuleState = ModuleState.RESTING
    moved_by: Authority = Authority.DEFAULT
    home_since_seconds: float = 0.0
    guest: bool = False
    host_bytes: int = 0
    bound_for: Tier | None = None
    rest_tier: Tier | None = None
    is_scratch: bool = False
    linger_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A restore of `module` found no memory: no more than `ceiling_bytes` fit now, and it is tried at `retry_seconds`.

    `ceiling_bytes` None: host memory was short on the way to a home on the device, and whoever left home would free
    none of it. That holds up only what comes from disk. `is_futile`: all that could leave has left, and in vain.
    """

    module: ModuleName
    ceiling_bytes: int | None
    retry_seconds: float
    rest_seconds: float
    is_futile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Room that is kept for a module at home to grow by (see `growth`, also for `dispensable`).

    `ceiling_bytes`: what was at home when the device had no memory left for it, None if only the budget lacks.
    """

    ticket: int
    module: ModuleName
    byte_count: int
    ceiling_bytes: int | None = None
    dispensable: frozenset[ModuleName] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that a decision depends on, but for the time. `residences` are in the order of the data path.

    `leaving`: modules that take no new leases because they must make room; kept, so that a choice once made is not
    changed while their last leases end. `paused_until_seconds`: see `pauses`.
    """

    home: Tier
    away: Tier
    residences: tuple[Residence, ...]
    wishes: Wishes
    leases: Leases = field(default_factory=Leases)
    leaving: frozenset[ModuleName] = frozenset()
    shortage: Shortage | None = None
    growths: tuple[Growth, ...] = ()
    paused_until_seconds: float = float("-inf")


def residence_of(situation: Situation, module: ModuleName) -> Residence:
    """Return one module's residence."""
    return next(residence for residence in situation.residences if residence.module == module)


def settled_home(situation: Situation, residence: Residence) -> bool:
    """Tell whether a module is at home and not on its way."""
    return residence.tier is situation.home and residence.state is ModuleState.RESTING


def in_use(situation: Situation, module: ModuleName) -> bool:
    """Tell whether a module must not leave now, whatever the need: it is leased, or kept for what is in it."""
    return module in situation.leases.held or module in situation.leases.keeps


def where(residence: Residence) -> str:
    """Return a residence in a word: the tier, and the state of what does not rest."""
    tier = residence.tier.name.lower()
    return tier if residence.state is ModuleState.RESTING else f"{tier}({residence.state.value})"


def destination(situation: Situation, residence: Residence) -> Tier | None:
    """Return where a module that is on its way goes, None for one that is not."""
    match residence.state:
        case ModuleState.RESTORING:
            return residence.bound_for or situation.home
        case ModuleState.EVICTING:
            return residence.bound_for or situation.away
        case ModuleState.RESTING | ModuleState.BROKEN:
            return None
        case _:
            assert_never(residence.state)


def away_from_home(situation: Situation, residence: Residence) -> Tier:
    """Return the tier that a module goes to when it leaves home and nobody has said where to."""
    rest = residence.rest_tier
    return situation.away if rest is None or rest is situation.home else rest


def rest_of(situation: Situation, residence: Residence) -> Tier:
    """Return where a module rests while nobody wishes anything."""
    return situation.home if residence.rests_at_home else away_from_home(situation, residence)


def restored_from(situation: Situation, residence: Residence) -> Tier:
    """Return the tier that a module's next restore starts from: where it is, or where it will go."""
    return away_from_home(situation, residence) if residence.tier is situation.home else residence.tier


def comes_home(situation: Situation, residence: Residence) -> bool:
    """Tell whether a module is on its way home."""
    if residence.state is ModuleState.RESTING:
        return False
    return destination(situation, residence) is situation.home


def bytes_of(situation: Situation, modules: frozenset[ModuleName]) -> int:
    """Return what these modules hold at home, were they there."""
    return sum(residence.home_bytes for residence in situation.residences if residence.module in modules)


def fits(situation: Situation, modules: frozenset[ModuleName]) -> bool:
    """Tell whether the budget in force holds these modules."""
    budget = budget_bytes(situation.wishes)
    return budget is None or bytes_of(situation, modules) <= budget


def fits_beside(situation: Situation, module: ModuleName) -> bool:
    """Tell whether the budget in force holds a module beside all that is at home."""
    at_home = frozenset(each.module for each in situation.residences if each.tier is situation.home)
    return fits(situation, at_home | {module})


def home_bytes(situation: Situation) -> int:
    """Return what modules hold in their home tier."""
    return sum(residence.home_bytes for residence in situation.residences if residence.tier is situation.home)


def occupied_bytes(situation: Situation) -> int:
    """Return what modules hold in their home tier, or are about to."""
    return growing_bytes(situation) + sum(
        residence.home_bytes
        for residence in situation.residences
        if residence.tier is situation.home or comes_home(situation, residence)
    )


def growing_bytes(situation: Situation) -> int:
    """Return what room is kept for."""
    return sum(growth.byte_count for growth in situation.growths)


def at_home_or_coming(situation: Situation) -> frozenset[ModuleName]:
    """Return the modules that are at home and stay, so far, and those on their way there."""
    return frozenset(
        each.module for each in situation.residences if settled_home(situation, each) or comes_home(situation, each)
    )


def begin_move(situation: Situation, move: Move) -> Situation:
    """Note that a module has set out."""
    wish = wish_for(situation.wishes, move.module, home=situation.home)
    for_request = move.target is situation.home and move.authority is Authority.DEMAND
    return _with(
        situation,
        replace(
            residence_of(situation, move.module),
            state=ModuleState.RESTORING if move.target < move.source else ModuleState.EVICTING,
            bound_for=move.target,
            moved_by=move.authority,
            guest=for_request and wish is not None and wish.tier is not situation.home,
        ),
    )


def arrive(
    situation: Situation, move: Move, *, home_bytes: int, host_bytes: int | None = None, now_seconds: float
) -> Situation:
    """Note that a module has arrived; at home, it shows what fits. `host_bytes` None: as before."""
    residence = residence_of(situation, move.module)
    arrived = _with(
        situation,
        replace(
            residence,
            tier=move.target,
            state=ModuleState.RESTING,
            bound_for=None,
            home_bytes=home_bytes,
            host_bytes=residence.host_bytes if host_bytes is None else host_bytes,
            home_since_seconds=now_seconds if move.target is situation.home else residence.home_since_seconds,
        ),
    )
    return replace(arrived, shortage=_shown(arrived, move.module)) if move.target is situation.home else arrived


def resized(situation: Situation, module: ModuleName, change_bytes: int) -> Situation:
    """Note that a module holds more at home, or less if negative, or will when it is there."""
    residence = residence_of(situation, module)
    return _with(situation, replace(residence, home_bytes=max(0, residence.home_bytes + change_bytes)))


def break_down(situation: Situation, module: ModuleName, *, tier: Tier = Tier.DISK) -> Situation:
    """Note that a module could not be brought back, and how far it came."""
    return _stranded(situation, module, tier, ModuleState.BROKEN)


def fall_short(situation: Situation, module: ModuleName, *, tier: Tier = Tier.DISK, now_seconds: float) -> Situation:
    """Note that there was no memory to bring a module back beyond `tier`, which it has reached.

    If that is all that kept it from home, what is home now is all that fits, until the retry.
    """
    stayed = _stranded(situation, module, tier, ModuleState.RESTING)
    last = situation.shortage
    rest_seconds = RETRY_FIRST_SECONDS if last is None else min(2 * last.rest_seconds, RETRY_LONGEST_SECONDS)
    once_futile = last is not None and last.module == module and last.is_futile
    can_leave = (each for each in stayed.residences if settled_home(stayed, each) and not in_use(stayed, each.module))
    shortage = Shortage(
        module=module,
        ceiling_bytes=home_bytes(stayed) if tier - 1 == situation.home else None,
        retry_seconds=now_seconds + rest_seconds,
        rest_seconds=rest_seconds,
        is_futile=once_futile or not any(each.home_bytes for each in can_leave),
    )
    return replace(stayed, shortage=shortage)


def held_up(situation: Situation, residence: Residence) -> bool:
    """Tell whether a shortage of memory keeps a module that is not at home from coming nearer."""
    shortage = situation.shortage
    return shortage is not None and (shortage.ceiling_bytes is not None or residence.tier is Tier.DISK)


def _shown(situation: Situation, arrived: ModuleName) -> Shortage | None:
    """Return what is left of a shortage when a module has come home.

    It is over for the module that met it. Another one only shows that as much as is there fits. If that ended it, the
    two could send each other away without a rest.
    """
    shortage = situation.shortage
    if shortage is None or shortage.module == arrived:
        return None
    if shortage.ceiling_bytes is None:
        return shortage
    return replace(shortage, ceiling_bytes=max(shortage.ceiling_bytes, home_bytes(situation)))


def _stranded(situation: Situation, module: ModuleName, tier: Tier, state: ModuleState) -> Situation:
    return _with(situation, replace(residence_of(situation, module), tier=tier, state=state, bound_for=None))


def _with(situation: Situation, changed: Residence) -> Situation:
    residences = tuple(changed if old.module == changed.module else old for old in situation.residences)
    return replace(situation, residences=residences)
