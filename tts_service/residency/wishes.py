"""Who wants which module where, and whose word counts.

Precedence: lease, then an operator (`place`, then a pin in the configuration), then the directive, then the default.
What was placed ends when a directive is accepted, and nothing is placed while one is in force: a governor would have no
means to take it back. A pin stays; what it keeps from being done is told (`completion`). An operator's wish for a
module's home pins it: it stays, whatever the budget. The default keeps what is home at home,
restores on demand, and lets a module that rests away go again when it has not been used for a while.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from tts_service.errors import CallerError, Reason, StartupError, bad_config
from tts_service.residency.types import Authority, Directive, Tier, Urgency
from tts_service.types import ModuleName


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Where somebody wants a module to rest, and when it may leave for that."""

    tier: Tier
    urgency: Urgency
    authority: Authority


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """All that is wanted.

    `static_budget_bytes` is the configuration's bound on what modules hold at home, None for none. A module that
    rests away leaves `linger_seconds` after its last use. One that came home against somebody's wish stays
    `stay_seconds` after its last use, so that a burst of utterances does not reload it each time.
    """

    static_budget_bytes: int | None = None
    pins: frozenset[ModuleName] = frozenset()
    placed: Mapping[ModuleName, Tier] = field(default_factory=dict)
    directive: Directive | None = None
    linger_seconds: float
    stay_seconds: float
    _known: dict[tuple[ModuleName, Tier], Wish | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What `wish_for` has found: a decision asks for each module ten times, and most decisions follow no new wish."""


def budget_bytes(wishes: Wishes) -> int | None:
    """Return the budget in force, None for none: a directive can only lower the operator's."""
    static = wishes.static_budget_bytes
    directed = wishes.directive.budget_bytes if wishes.directive is not None else None
    return static if directed is None else directed if static is None else min(static, directed)


def budget_authority(wishes: Wishes) -> Authority:
    """Tell who set the budget in force."""
    return Authority.DEFAULT if budget_bytes(wishes) == wishes.static_budget_bytes else Authority.DIRECTIVE


def operator_tier(wishes: Wishes, module: ModuleName, *, home: Tier) -> Tier | None:
    """Return where an operator wants a module, None if none cares."""
    return wishes.placed.get(module, home if module in wishes.pins else None)


def pinned(wishes: Wishes, *, home: Tier) -> frozenset[ModuleName]:
    """Return the modules that an operator keeps at home."""
    known = wishes.pins | wishes.placed.keys()
    return frozenset(module for module in known if operator_tier(wishes, module, home=home) is home)


def wish_for(wishes: Wishes, module: ModuleName, *, home: Tier) -> Wish | None:
    """Return the wish that counts for a module; None leaves it to the default."""
    known, key = wishes._known, (module, home)  # noqa: SLF001  # This function's own.
    if key not in known:
        known[key] = _wish_for(wishes, module, home=home)
    return known[key]


def _wish_for(wishes: Wishes, module: ModuleName, *, home: Tier) -> Wish | None:
    tier = operator_tier(wishes, module, home=home)
    if tier is not None:
        return Wish(tier=tier, urgency=Urgency.WHEN_UNCLAIMED, authority=Authority.OPERATOR)
    placements = wishes.directive.placements if wishes.directive is not None else ()
    for placement in placements:
        if placement.module == module:
            return Wish(tier=placement.tier, urgency=placement.urgency, authority=Authority.DIRECTIVE)
    return None


def with_directive(wishes: Wishes, directive: Directive | None) -> Wishes:
    """Put a directive in force, which ends what was placed; None puts none in force and brings nothing placed back."""
    return replace(wishes, directive=directive, placed=wishes.placed if directive is None else {})


def with_placed(wishes: Wishes, module: ModuleName, tier: Tier | None) -> Wishes:
    """Note where an operator places a module; None takes the wish back.

    Raises CallerError GOVERNED while a directive is in force.
    """
    if wishes.directive is not None:
        raise CallerError(
            Reason.GOVERNED,
            "a governor's directive is in force: ask its PolicyService.SetOverride instead",
            metadata={"use": "PolicyService.SetOverride"},
        )
    others = {name: placed for name, placed in wishes.placed.items() if name != module}
    return replace(wishes, placed=others if tier is None else {**others, module: tier})


def check_pins(pins: Collection[ModuleName], modules: Collection[ModuleName]) -> None:
    """Raise StartupError for a module in the configuration that there is not."""
    unknown = sorted(frozenset(pins) - frozenset(modules))
    if unknown:
        raise StartupError(f"pinned: there is no module {unknown[0]!r}; there are {', '.join(modules)}")


def check_tier(field: str, tier: Tier, tiers: Collection[Tier]) -> None:
    """Raise CallerError BAD_CONFIG for a tier that this machine's modules cannot be in."""
    if tier not in tiers:
        known = ", ".join(known.name for known in sorted(tiers))
        raise bad_config(field, f"modules of this service are never in {tier.name}; it has {known}")


def check_module(field: str, module: ModuleName, modules: Collection[ModuleName]) -> None:
    """Raise CallerError MODULE_NOT_FOUND for a module that there is not."""
    if module not in modules:
        words = f"there is no module {module!r}; there are {', '.join(modules)}"
        raise bad_config(field, words, reason=Reason.MODULE_NOT_FOUND)


def check_directive(directive: Directive, *, modules: Collection[ModuleName], tiers: Collection[Tier]) -> None:
    """Raise CallerError if a directive cannot be accepted as a whole."""
    if directive.budget_bytes is not None and directive.budget_bytes < 0:
        raise bad_config("budget_bytes", f"{directive.budget_bytes} is negative")
    seen: set[ModuleName] = set()
    for position, placement in enumerate(directive.placements):
        check_module(f"placements[{position}].module", placement.module, modules)
        check_tier(f"placements[{position}].tier", placement.tier, tiers)
        if placement.module in seen:
            raise bad_config(f"placements[{position}].module", f"{placement.module} is listed twice")
        seen.add(placement.module)
