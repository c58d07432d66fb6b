"""Where modules rest while nobody wishes anything: at home or away, as the service has it or as is configured. Pure."""

from collections.abc import Collection, Mapping

from tts_service.errors import StartupError
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.situation import Residence
from tts_service.residency.types import Tier
from tts_service.types import ModuleName


def first_residences(
    specs: Collection[ModuleSpec], *, tiers: tuple[Tier, ...], rest_tiers: Mapping[ModuleName, Tier]
) -> tuple[Residence, ...]:
    """Return every module on disk, in the order of the data path; `tiers` are the machine's, home first.

    Raises StartupError for a module that there is not, or a tier that the machine lacks.
    """
    _check(rest_tiers, modules=[spec.name for spec in specs], tiers=tiers)
    home, away = tiers[0], tiers[1]
    return tuple(
        Residence(
            module=spec.name,
            rests_at_home=rest_tiers.get(spec.name, home if spec.rests_at_home else away) is home,
            rest_tier=rest_tiers.get(spec.name),
            is_scratch=spec.is_scratch,
            linger_seconds=spec.linger_seconds,
            tier=tiers[-1],
            home_bytes=spec.home_bytes or 0,
        )
        for spec in specs
    )


def _check(rest_tiers: Mapping[ModuleName, Tier], *, modules: Collection[ModuleName], tiers: Collection[Tier]) -> None:
    for module, tier in rest_tiers.items():
        if module not in modules:
            raise StartupError(f"rest: there is no module {module!r}; there are {', '.join(modules)}")
        if tier not in tiers:
            known = ", ".join(each.name.lower() for each in sorted(tiers))
            raise StartupError(
                f"rest.{module}: there is no tier {tier.name.lower()} here for modules; there are {known}"
            )
