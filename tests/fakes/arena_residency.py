"""A residency over small networks whose home are arenas on a fake driver."""

from collections.abc import Callable, Collection, Mapping

from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.fake_device import FakeDevice
from tests.fakes.torch_networks import DEVICE_TIERS, MAKERS, NoMemory
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.types import ModuleName

ADOPT_FROM_BYTES = 1024
"""Small enough for some networks' memory to be taken over as it is, large enough for others' to be packed."""


def arena_weights(
    driver: FakeCudaDriver,
    *,
    asynchronous: bool = False,
    finds_strays: bool = False,
    adopt_from_bytes: int = ADOPT_FROM_BYTES,
) -> ArenaWeights:
    """Return weights in arenas of a fake driver."""
    return ArenaWeights(
        driver,
        FakeDevice(),
        gate=CaptureGate(),
        asynchronous=asynchronous,
        finds_strays=finds_strays,
        adopt_from_bytes=adopt_from_bytes,
    )


def arena_residency(
    weights: ArenaWeights,
    *,
    clock: Callable[[], float],
    makers: Mapping[str, Callable[[], object]] = MAKERS,
    rest_away: Collection[str] = (),
    stay_seconds: float = 0.0,
    more: Collection[ModuleSpec] = (),
    budget_bytes: int | None = None,
) -> ResidencyManager:
    """Return a manager over small networks whose home are arenas, and `more` modules, not started."""
    return ResidencyManager(
        [
            ModuleSpec(name=ModuleName(name), load=make, rests_at_home=name not in rest_away, home_bytes=100)
            for name, make in makers.items()
        ]
        + list(more),
        mover=Mover(memory=NoMemory(), clock=clock, collect=lambda: 0, device=weights),
        tiers=DEVICE_TIERS,
        budget_bytes=budget_bytes,
        linger_seconds=10.0,
        stay_seconds=stay_seconds,
        clock=clock,
        wall_clock=lambda: 1_700_000_000.0 + clock(),
    )
