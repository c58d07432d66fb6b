"""Says what is: from the situation, the last decision and the tally to the values that others read. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tts_service.residency.history import MoveTally, Phase
from tts_service.residency.register import Register
from tts_service.residency.situation import (
    Residence,
    Situation,
    home_bytes,
    residence_of,
    rest_of,
    restored_from,
)
from tts_service.residency.turns import largest_step_bytes
from tts_service.residency.types import Authority, DeviceUsage, ModuleState, ModuleStatus, ResidencyReport, Tier
from tts_service.residency.wishes import budget_bytes, pinned, wish_for
from tts_service.types import ModuleName


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When a report is made, on both clocks, and what the process holds then: its resident set, and of the device."""

    now_seconds: float
    unix_seconds: float
    process_bytes: int
    device: DeviceUsage | None = None


def report(register: Register, moment: Moment, *, steps: Sequence[frozenset[ModuleName]] = ()) -> ResidencyReport:
    """Return what is, with epoch 0 and no holder: those are the governor's to fill in."""
    situation, tally = register.situation, register.tally
    directive = situation.wishes.directive
    return ResidencyReport(
        unix_seconds=moment.unix_seconds,
        modules=statuses(register, moment),
        budget_bytes=budget_bytes(situation.wishes),
        home_bytes=home_bytes(situation),
        applied_version=register.applied_version,
        accepted_version=0 if directive is None else directive.version,
        pending_moves=register.decision.pending,
        process_bytes=moment.process_bytes,
        released_bytes=tally.released_bytes,
        epoch=0,
        holder_id="",
        restore_waits=tally.restore_waits,
        restore_wait_seconds=tally.restore_wait_seconds,
        sessions=register.sessions,
        queued_utterances=register.queued_utterances,
        device=moment.device,
        largest_step_bytes=largest_step_bytes(situation, steps),
    )


def statuses(register: Register, moment: Moment) -> tuple[ModuleStatus, ...]:
    """Return every module as it is, in the order of the data path."""
    situation = register.situation
    return tuple(_status(situation, residence, register.tally, moment) for residence in situation.residences)


def status(register: Register, module: ModuleName, moment: Moment) -> ModuleStatus:
    """Return one module as it is; of the moment, what is held of memory is not asked for."""
    return _status(register.situation, residence_of(register.situation, module), register.tally, moment)


def authority_of(situation: Situation, residence: Residence) -> Authority:
    """Tell who decided where a module is: whose wish it fulfils, else who moved it last."""
    wish = wish_for(situation.wishes, residence.module, home=situation.home)
    if wish is not None and wish.tier is residence.tier:
        return wish.authority
    return residence.moved_by


def phase_of(situation: Situation, *, started: bool) -> Phase:
    """Tell what the service is doing, for a sample of memory."""
    if not started:
        return Phase.STARTING
    moving = (ModuleState.RESTORING, ModuleState.EVICTING)
    if any(residence.state in moving for residence in situation.residences):
        return Phase.MOVING
    return Phase.SPEAKING if situation.leases.claims else Phase.IDLE


def _status(situation: Situation, residence: Residence, tally: MoveTally, moment: Moment) -> ModuleStatus:
    module, leases = residence.module, situation.leases
    used_seconds = leases.last_use_seconds.get(module)
    return ModuleStatus(
        module=module,
        home=situation.home,
        tier=residence.tier,
        state=residence.state,
        bytes_by_tier=bytes_by_tier(situation, residence),
        home_bytes=residence.home_bytes,
        leases=leases.held.get(module, 0),
        claims=leases.claims.get(module, 0),
        uses=leases.uses.get(module, 0),
        last_use_unix_seconds=(
            None if used_seconds is None else moment.unix_seconds - (moment.now_seconds - used_seconds)
        ),
        restore_seconds=tally.restore_seconds(module, restored_from(situation, residence)),
        evict_seconds=tally.evict_seconds(module),
        authority=authority_of(situation, residence),
        restores=tally.restores(module),
        evictions=tally.evictions(module),
        pinned=module in pinned(situation.wishes, home=situation.home),
        rest=rest_of(situation, residence),
    )


def bytes_by_tier(situation: Situation, residence: Residence) -> dict[Tier, int]:
    """Return what a module holds in each tier now; one on a device keeps the host memory that it was copied from."""
    held = {situation.home: residence.home_bytes} if residence.tier is situation.home else {}
    in_memory = residence.tier is not Tier.DISK
    return {**held, Tier.HOST: residence.host_bytes} if situation.home is Tier.DEVICE and in_memory else held
