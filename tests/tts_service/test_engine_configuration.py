"""The configuration on its way to the engine's process."""

from pathlib import Path

import pytest

from tts_service.config import Limits, ModelChoice, Residency, RestTier, ServiceConfig
from tts_service.engine_process.configuration import read_config, written_config


def test_configuration_arrives_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested settings, paths, enums and what is not set; variables that have changed meanwhile have no say."""
    config = ServiceConfig(
        model=ModelChoice.ENGLISH,
        cache_dir=tmp_path,
        residency=Residency(budget_bytes=5, rest={"t3": RestTier.HOST}, pinned=("t3",)),
        limits=Limits(sessions=3),
    )
    monkeypatch.setenv("GREENROOM_SERVICE_WORKERS", "7")
    read = read_config(written_config(config))

    assert config.model_dump() == read.model_dump()
    assert type(read) is ServiceConfig
