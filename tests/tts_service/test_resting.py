"""Where modules rest: as the service has it, or as it is configured, by tier."""

from collections.abc import Mapping

import pytest

from tests.fakes.fake_device import FakeDevice
from tests.fakes.fake_modules import FakeModules, fake_residency
from tests.fakes.manual_clock import ManualClock
from tests.fakes.torch_networks import device_residency
from tts_service.errors import StartupError
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.types import Directive, Placement, Tier
from tts_service.types import ModuleName

A, B, D = ModuleName("a"), ModuleName("b"), ModuleName("d")
SIZES = {"a": 10, "b": 20, "c": 30}


@pytest.fixture
def clock() -> ManualClock:
    """Return the manager's clock."""
    return ManualClock(100.0)


def on_host(clock: ManualClock, rest: Mapping[str, Tier]) -> ResidencyManager:
    """Return a loaded manager of a CPU, whose module c rests away."""
    manager = fake_residency(FakeModules(SIZES), clock=clock, rest_away={"c"}, rest_tiers=rest, linger_seconds=10.0)
    manager.load()
    return manager


def on_device(clock: ManualClock, rest: Mapping[str, Tier]) -> ResidencyManager:
    """Return a loaded manager of a GPU, whose module d rests on the host."""
    manager = device_residency(FakeDevice(), clock=clock, rest_away={"d"}, rest_tiers=rest)
    manager.load()
    return manager


def tiers(manager: ResidencyManager) -> str:
    """Return where everything is once it has settled."""
    while manager.make_moves():
        pass
    return " ".join(status.tier.name for status in manager.report().modules)


def rests(manager: ResidencyManager) -> str:
    """Return where everything rests."""
    return " ".join(status.rest.name if status.rest else "-" for status in manager.report().modules)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ({}, "HOST HOST DISK"),
        ({"a": Tier.DISK}, "DISK HOST DISK"),
        ({"c": Tier.HOST}, "HOST HOST HOST"),
        ({"a": Tier.HOST, "b": Tier.DISK}, "HOST DISK DISK"),
    ],
)
def test_modules_of_a_cpu_begin_where_they_rest(clock: ManualClock, rest: Mapping[str, Tier], expected: str) -> None:
    """The configuration overrules the service's own mind, module by module; the report says where each rests."""
    manager = on_host(clock, rest)

    assert (expected, expected) == (tiers(manager), rests(manager))


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ({}, "DEVICE DEVICE DEVICE HOST"),
        ({"a": Tier.HOST, "b": Tier.DISK}, "HOST DISK DEVICE HOST"),
        ({"d": Tier.DEVICE}, "DEVICE DEVICE DEVICE DEVICE"),
        ({"d": Tier.DISK}, "DEVICE DEVICE DEVICE DISK"),
    ],
)
def test_modules_of_a_gpu_begin_where_they_rest(clock: ManualClock, rest: Mapping[str, Tier], expected: str) -> None:
    """There are three tiers to rest in."""
    manager = on_device(clock, rest)

    assert (expected, expected) == (tiers(manager), rests(manager))


def test_module_returns_to_where_it_rests_when_it_lingered(clock: ManualClock) -> None:
    """It comes home on demand, and goes as far as it is configured to when it was not used for a while."""
    manager = on_device(clock, {"a": Tier.DISK, "d": Tier.DEVICE})
    manager.prepare({A})
    home = tiers(manager)
    clock.advance(9.0)
    soon = tiers(manager)
    clock.advance(2.0)

    assert ("DEVICE DEVICE DEVICE DEVICE", home) == (home, soon)
    assert "DISK DEVICE DEVICE DEVICE" == tiers(manager)


def test_module_left_between_tiers_goes_on_to_where_it_rests(clock: ManualClock) -> None:
    """When a directive that placed it elsewhere ends, a module that is away goes where it is configured to rest."""
    manager = on_device(clock, {"a": Tier.DISK})
    placements = (Placement(module=A, tier=Tier.HOST), Placement(module=B, tier=Tier.HOST))
    manager.set_directive(Directive(epoch=1, version=1, valid_for_seconds=10, placements=placements))
    directed = tiers(manager)
    manager.set_directive(None)

    assert ("HOST HOST DEVICE HOST", "DISK HOST DEVICE HOST") == (directed, tiers(manager))


def test_claimed_module_between_tiers_waits_without_a_word(clock: ManualClock) -> None:
    """Nobody waits for a default: what cannot go yet is no pending move, and goes when the utterance has ended."""
    manager = on_device(clock, {"a": Tier.DISK})
    manager.set_directive(
        Directive(epoch=1, version=1, valid_for_seconds=10, placements=(Placement(module=A, tier=Tier.HOST),))
    )
    tiers(manager)
    with manager.claim({A}):
        manager.set_directive(None)
        claimed, pending = tiers(manager), manager.report().pending_moves

    assert ("HOST", ()) == (claimed.split()[0], pending)
    assert "DISK" == tiers(manager).split()[0]


def test_pin_overrules_where_a_module_rests(clock: ManualClock) -> None:
    """What is pinned never leaves."""
    manager = fake_residency(FakeModules(SIZES), clock=clock, pinned=("a",), rest_tiers={"a": Tier.DISK})
    manager.load()
    clock.advance(100.0)

    assert "HOST HOST HOST" == tiers(manager)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ({"nobody": Tier.HOST}, "there is no module 'nobody'; there are a, b, c"),
        ({"a": Tier.DEVICE}, "rest.a: there is no tier device here for modules; there are host, disk"),
    ],
)
def test_rest_that_cannot_be_stops_the_start(clock: ManualClock, rest: Mapping[str, Tier], words: str) -> None:
    """A module or tier that there is not is named with those that there are."""
    with pytest.raises(StartupError) as refused:
        on_host(clock, rest)

    assert words in str(refused.value)
