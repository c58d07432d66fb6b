"""Whether the engine gets a process of its own. Without torch: to ask it takes seconds, and a context besides."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tts_service.config import ModelChoice, ServiceConfig
from tts_service.engine_settings import EngineProcess

GPU_FILES: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""What a driver shows: on Linux, and on Linux within Windows."""


def has_own_process(config: ServiceConfig, *, exists: Callable[[Path], bool] = Path.exists) -> bool:
    """Tell where the engine is to be: what is set, else in a process of its own if it may compute on a GPU."""
    match config.engine.process:
        case EngineProcess.OWN:
            return True
        case EngineProcess.SAME:
            return False
        case EngineProcess.AUTO:
            if config.model is ModelChoice.BUILTIN or config.device == "cpu":
                return False
            return config.device != "auto" or any(map(exists, GPU_FILES))
