"""From settings to a residency: what each setting of [residency] makes of it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.fake_modules import FakeModules
from tts_service.assembly import residency_of, warn_of_budget
from tts_service.config import Residency, ServiceConfig
from tts_service.engine_parts import EngineParts
from tts_service.errors import Reason, ServiceError, StartupError
from tts_service.residency.manager import ResidencyManager
from tts_service.speech.session_config import Offer
from tts_service.types import WATERMARK_ENCODER, ModuleName

SIZES = {"t3": 70, "flow": 30, WATERMARK_ENCODER: 10, "encoder": 40}
T3, FLOW = ModuleName("t3"), ModuleName("flow")


def parts_of(modules: FakeModules) -> EngineParts:
    """Return the parts of a service whose model speaks with two modules."""
    steps = tuple(frozenset({each}) for each in (T3, FLOW, WATERMARK_ENCODER))
    model: Any = SimpleNamespace(modules=frozenset({T3, FLOW}), step_modules=steps)
    return EngineParts(
        catalog=modules.specs(rest_away={"encoder"}),
        offer=Offer(models=(), voices={}),
        models={"model": model},
        device=torch.device("cpu"),
    )


def loaded(**settings: Any) -> ResidencyManager:
    """Return a loaded residency with these settings."""
    modules = FakeModules(SIZES)
    memory: Any = modules
    config = ServiceConfig(residency=Residency(**settings))
    manager = residency_of(config, parts_of(modules), memory)
    manager.load()
    return manager


def tiers(manager: ResidencyManager) -> str:
    """Return where everything is."""
    while manager.make_moves():
        pass
    return " ".join(status.tier.name for status in manager.report().modules)


def test_residency_that_is_off_keeps_every_module_at_home() -> None:
    """No budget, no rest, no leaving: as if nothing could move."""
    manager = loaded(enabled=False, budget_bytes=10, rest={"t3": "disk"})
    report = manager.report()

    assert ("HOST HOST HOST HOST", None, {True}) == (
        tiers(manager),
        report.budget_bytes,
        {status.pinned for status in report.modules},
    )


def test_settings_reach_the_residency() -> None:
    """Budget, pins, tiers at rest and history are the configuration's."""
    manager = loaded(budget_bytes=120, pinned=["flow"], rest={"encoder": "host", "t3": "disk"}, history=False)
    report = manager.report()

    assert ("DISK HOST HOST HOST", 120, [False, True, False, False], False) == (
        tiers(manager),
        report.budget_bytes,
        [status.pinned for status in report.modules],
        manager.memory_report(10).history_kept,
    )


def test_tier_that_a_cpu_lacks_stops_the_start() -> None:
    """There is no device to rest on."""
    with pytest.raises(StartupError, match=r"rest\.t3"):
        loaded(rest={"t3": "device"})


def test_tier_at_rest_may_be_left_to_the_service() -> None:
    """`auto` says nothing, and overrules a file's entry by doing so."""
    assert "HOST HOST HOST DISK" == tiers(loaded(rest={"t3": "auto", "encoder": "auto"}))


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({}, []),
        ({"budget_bytes": 70}, []),
        ({"budget_bytes": 69}, [("70", "69")]),
        ({"budget_bytes": 0}, [("70", "0")]),
        ({"budget_bytes": 99, "pinned": ["flow"]}, [("100", "99")]),
        ({"budget_bytes": 100, "pinned": ["flow"]}, []),
        ({"budget_bytes": 0, "enabled": False}, []),
    ],
)
def test_budget_below_what_speech_needs_is_warned_of_with_both_numbers(
    settings: dict[str, Any], warned: list[tuple[str, str]]
) -> None:
    """The largest module that speech needs has to fit beside what is pinned; what it does not need does not count."""
    manager = loaded(**settings)
    with capture_logs() as logs:
        warn_of_budget(manager, parts_of(FakeModules(SIZES)))
    found = [each for each in logs if each["event"] == "budget_too_small_for_speech"]

    assert warned == [(each["needed_bytes"], each["budget_bytes"]) for each in found]
    assert {"warning"} >= {each["log_level"] for each in found}


def test_step_at_the_border_of_the_budget_is_served_or_refused_with_its_bytes() -> None:
    """A budget of exactly the module's bytes serves it, one byte less refuses it with what it would need."""
    enough, short = loaded(budget_bytes=70), loaded(budget_bytes=69)
    prepared = enough.prepare({T3})
    tiers(enough)
    with pytest.raises(ServiceError) as refused:
        short.prepare({T3}).result(0)

    assert prepared.result(0) is None
    assert (Reason.DEVICE_MEMORY, {"needed_bytes": "70", "budget_bytes": "69"}) == (
        refused.value.reason,
        refused.value.metadata,
    )


@pytest.mark.parametrize("pinned", [(), ("flow",), ("flow", "encoder")])
def test_report_tells_the_budget_below_which_speech_would_be_refused(pinned: tuple[str, ...]) -> None:
    """A governor sees what the largest step needs beside what is pinned: exactly what the warning goes by."""
    least = loaded(pinned=list(pinned)).report().largest_step_bytes
    with capture_logs() as enough:
        warn_of_budget(loaded(budget_bytes=least, pinned=list(pinned)), parts_of(FakeModules(SIZES)))
    with capture_logs() as short:
        warn_of_budget(loaded(budget_bytes=least - 1, pinned=list(pinned)), parts_of(FakeModules(SIZES)))
    words = "budget_too_small_for_speech"

    assert (False, True) == tuple(words in [one["event"] for one in logs] for logs in (enough, short))
