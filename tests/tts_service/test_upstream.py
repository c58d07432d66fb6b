"""The late import of upstream: warnings and devices stay out, and the collector goes on as before."""

import gc
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tts_service.models.chatterbox.upstream import late_import

NAME = "imported_late_for_a_test"
SOURCE = """
import gc, warnings, torch
warnings.warn("nobody asked")
COLLECTS = gc.isenabled()
TABLE = torch.zeros(2)
"""


@pytest.fixture
def imported_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a module where it can be imported, and forget it afterwards."""
    (tmp_path / f"{NAME}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop(NAME, None)


@pytest.mark.usefixtures("imported_late")
def test_import_is_quiet_on_the_cpu_and_undisturbed() -> None:
    """Even while a network is built on the meta device, and with warnings as errors."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("error")
        module = late_import(NAME)

    assert (False, "cpu") == (module.COLLECTS, module.TABLE.device.type)
    assert gc.isenabled()
    assert module is late_import(NAME)


@pytest.mark.usefixtures("imported_late")
def test_collector_that_was_off_stays_off() -> None:
    """Whoever switched it off has a reason."""
    gc.disable()
    try:
        late_import(NAME)
        was_enabled = gc.isenabled()
    finally:
        gc.enable()

    assert not was_enabled


def test_collector_goes_on_after_an_import_that_failed() -> None:
    """A package that is missing is an error, and no more."""
    with pytest.raises(ModuleNotFoundError):
        late_import("no_such_package_anywhere")

    assert gc.isenabled()
