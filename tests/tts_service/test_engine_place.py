"""Where the engine is to compute: what is set counts, else what the machine shows without asking a driver."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tts_service.config import ModelChoice, ServiceConfig
from tts_service.engine_place import has_own_process
from tts_service.engine_settings import EngineProcess, EngineSettings


def everything(_path: Path) -> bool:
    """Show a driver."""
    return True


def nothing(_path: Path) -> bool:
    """Show none."""
    return False


@pytest.mark.parametrize(
    ("process", "device", "model", "shown", "expected"),
    [
        (EngineProcess.AUTO, "auto", ModelChoice.AUTO, nothing, False),
        (EngineProcess.AUTO, "auto", ModelChoice.AUTO, everything, True),
        (EngineProcess.AUTO, "cpu", ModelChoice.ENGLISH, everything, False),
        (EngineProcess.AUTO, "auto", ModelChoice.BUILTIN, everything, False),
        (EngineProcess.AUTO, "cuda:1", ModelChoice.TURBO, nothing, True),
        (EngineProcess.OWN, "cpu", ModelChoice.BUILTIN, nothing, True),
        (EngineProcess.SAME, "cuda", ModelChoice.ENGLISH, everything, False),
    ],
)
def test_engine_has_its_own_process_where_it_may_lose_a_device(
    process: EngineProcess, device: str, model: ModelChoice, shown: Callable[[Path], bool], *, expected: bool
) -> None:
    """On a GPU, and where it is asked for."""
    config = ServiceConfig(device=device, model=model, engine=EngineSettings(process=process))

    assert expected is has_own_process(config, exists=shown)
