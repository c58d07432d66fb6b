"""Who governs, with what word, and until when.

* The service mints epochs; each hello that is let in gets the next one, and only the newest epoch may direct.
* The same holder is always let in again. Another is let in when nobody is attached and no word is in force, or when
  it takes over.
* Within an epoch versions rise. The last version again renews its time to live and must mean the same.
* A word that is not renewed in time ends, whether its governor died, hung or left. Leaving alone ends nothing.
* A governor that was let in has FIRST_WORD_SECONDS to give its first directive, so that a silent one cannot keep
  operators out for good.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from tts_service.errors import CallerError, FieldViolation, Reason, bad_config
from tts_service.residency.types import Directive, Placement

VALID_FOR_MINIMUM_SECONDS = 1.0
VALID_FOR_MAXIMUM_SECONDS = 600.0
FIRST_WORD_SECONDS = 10.0
"""The default time to live of a directive: a daemon that works sends its first one long before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """How a governor introduces itself."""

    holder_id: str
    takeover: bool = False
    display_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Governor:
    """The holder of the newest epoch and its word; epoch 0 means that nobody ever came.

    `directive` is the last one accepted, perhaps of an earlier epoch, and in force until `expires_at_seconds` (None:
    it is not in force). The governor itself counts until `heard_until_seconds` (None: it does not).
    """

    epoch: int = 0
    holder_id: str = ""
    attached: bool = False
    directive: Directive | None = None
    expires_at_seconds: float | None = None
    heard_until_seconds: float | None = None


class Effect(Enum):
    """What an accepted directive asks of the manager."""

    APPLY = auto()
    RENEW = auto()


def hello(governor: Governor, greeting: Hello, *, now_seconds: float) -> Governor:
    """Let a governor in under the next epoch; what its predecessor said stays in force until its time runs out.

    Raises CallerError GOVERNED if another holder governs and this one does not take over.
    """
    if greeting.holder_id != governor.holder_id and not greeting.takeover:
        _refuse_while_held(governor, now_seconds)
    heard_until_seconds = max(now_seconds + FIRST_WORD_SECONDS, governor.expires_at_seconds or 0.0)
    return replace(
        governor,
        epoch=governor.epoch + 1,
        holder_id=greeting.holder_id,
        attached=True,
        heard_until_seconds=heard_until_seconds,
    )


def leave(governor: Governor, epoch: int) -> Governor:
    """Note that the stream of an epoch ended; that of a superseded one changes nothing."""
    if epoch != governor.epoch:
        return governor
    return replace(governor, attached=False, heard_until_seconds=governor.expires_at_seconds)


def direct(
    governor: Governor, directive: Directive, *, stream_epoch: int, now_seconds: float
) -> tuple[Governor, Effect]:
    """Accept a directive and say whether it is news for the manager; the module names are the manager's to judge.

    Raises CallerError SUPERSEDED for a wrong epoch or an older version, BAD_CONFIG for anything out of bounds.
    """
    _check_epoch(governor, directive, stream_epoch)
    _check_bounds(directive)
    last = _last_of_epoch(governor)
    _check_version(last, directive)
    renewed = last is not None and last.version == directive.version and governor.expires_at_seconds is not None
    until_seconds = now_seconds + directive.valid_for_seconds
    accepted = replace(
        governor, directive=directive, expires_at_seconds=until_seconds, heard_until_seconds=until_seconds
    )
    return accepted, Effect.RENEW if renewed else Effect.APPLY


def expire(governor: Governor, *, now_seconds: float) -> tuple[Governor, Directive | None]:
    """End what has run out; returns the directive that ended now, for which the manager goes to its default."""
    ended = governor.directive if _is_past(governor.expires_at_seconds, now_seconds) else None
    if ended is not None:
        governor = replace(governor, expires_at_seconds=None)
    if _is_past(governor.heard_until_seconds, now_seconds):
        governor = replace(governor, heard_until_seconds=None)
    return governor, ended


def next_end_seconds(governor: Governor) -> float | None:
    """Return when something runs out next, None for never."""
    ends = (governor.expires_at_seconds, governor.heard_until_seconds)
    return min((end for end in ends if end is not None), default=None)


def governs(governor: Governor, *, now_seconds: float) -> bool:
    """Tell whether the holder's word counts now."""
    return governor.heard_until_seconds is not None and now_seconds < governor.heard_until_seconds


def version_in_force(governor: Governor) -> int:
    """Return the version in force if it is of the newest epoch, else 0: numbers of another epoch mean nothing."""
    last = _last_of_epoch(governor)
    return last.version if last is not None and governor.expires_at_seconds is not None else 0


def refuse_operator(governor: Governor, *, now_seconds: float) -> None:
    """Raise CallerError GOVERNED, naming the way out, while a governor's word counts."""
    if governs(governor, now_seconds=now_seconds):
        raise CallerError(
            Reason.GOVERNED,
            f"{governor.holder_id!r} governs this service: ask its PolicyService.SetOverride instead",
            metadata=_holder_metadata(governor, now_seconds) | {"use": "PolicyService.SetOverride"},
        )


def _refuse_while_held(governor: Governor, now_seconds: float) -> None:
    if governor.attached or governs(governor, now_seconds=now_seconds):
        raise CallerError(
            Reason.GOVERNED,
            f"{governor.holder_id!r} governs this service: stop it, wait until its directive expires, or take over",
            metadata=_holder_metadata(governor, now_seconds),
            retry_after_seconds=None if governor.attached else _remaining_seconds(governor, now_seconds),
        )


def _holder_metadata(governor: Governor, now_seconds: float) -> dict[str, str]:
    return {
        "holder": governor.holder_id,
        "expires_in_seconds": f"{_remaining_seconds(governor, now_seconds):.3f}",
    }


def _remaining_seconds(governor: Governor, now_seconds: float) -> float:
    return max(0.0, (governor.heard_until_seconds or 0.0) - now_seconds)


def _is_past(end_seconds: float | None, now_seconds: float) -> bool:
    return end_seconds is not None and now_seconds >= end_seconds


def _last_of_epoch(governor: Governor) -> Directive | None:
    last = governor.directive
    return last if last is not None and last.epoch == governor.epoch else None


def _check_epoch(governor: Governor, directive: Directive, stream_epoch: int) -> None:
    if not directive.epoch == stream_epoch == governor.epoch:
        raise CallerError(
            Reason.SUPERSEDED,
            f"epoch {directive.epoch} on the stream of epoch {stream_epoch}: the epoch in force is {governor.epoch}",
            metadata={"epoch": str(governor.epoch)},
        )


def _check_version(last: Directive | None, directive: Directive) -> None:
    if last is None or directive.version > last.version:
        return
    if directive.version < last.version:
        raise CallerError(
            Reason.SUPERSEDED,
            f"version {directive.version} is older than {last.version}",
            metadata={"version": str(last.version)},
        )
    if _meaning(directive) != _meaning(last):
        raise bad_config("version", f"{directive.version} was used for another placement; a new wish needs a new one")


def _meaning(directive: Directive) -> tuple[int | None, frozenset[Placement]]:
    """Return what a directive asks for; how long, why, and in which order it is listed do not matter."""
    return directive.budget_bytes, frozenset(directive.placements)


def _check_bounds(directive: Directive) -> None:
    violations = (*_bound_violations(directive), *_repeated_modules(directive.placements))
    if violations:
        words = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise CallerError(Reason.BAD_CONFIG, words, violations=violations)


def _bound_violations(directive: Directive) -> tuple[FieldViolation, ...]:
    checks = (
        ("version", directive.version >= 1, "must be 1 or more"),
        (
            "valid_for",
            VALID_FOR_MINIMUM_SECONDS <= directive.valid_for_seconds <= VALID_FOR_MAXIMUM_SECONDS,
            f"must be {VALID_FOR_MINIMUM_SECONDS:g} to {VALID_FOR_MAXIMUM_SECONDS:g} s",
        ),
        ("budget_bytes", directive.budget_bytes is None or directive.budget_bytes >= 0, "must be 0 or more"),
    )
    return tuple(FieldViolation(field=field, description=words) for field, holds, words in checks if not holds)


def _repeated_modules(placements: tuple[Placement, ...]) -> tuple[FieldViolation, ...]:
    first_seen: dict[str, int] = {}
    violations = []
    for position, placement in enumerate(placements):
        first = first_seen.setdefault(placement.module, position)
        if first != position:
            field = f"placements[{position}].module"
            violations.append(FieldViolation(field=field, description=f"{placement.module} is listed twice"))
    return tuple(violations)
