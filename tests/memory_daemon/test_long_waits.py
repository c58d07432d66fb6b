"""gRPC's threads wait without looking up, and hear at once all the same."""

import importlib
from typing import Any

import pytest

from memory_daemon.long_waits import CONSTANT, LOOK_SECONDS, MODULE, wait_long


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the library's module, which is left as it was."""
    module = importlib.import_module(MODULE)
    monkeypatch.setattr(module, CONSTANT, getattr(module, CONSTANT))
    return module


def test_locked_version_of_the_library_can_wait_long(waits: Any) -> None:
    """The constant is there and counts; if an upgrade renames it, an idle daemon costs more, and this says why."""
    told = wait_long()
    spans: list[float] = []
    answers = iter([False, True])
    waits.wait(lambda *, timeout: spans.append(timeout), lambda: next(answers))

    assert (True, [LOOK_SECONDS]) == (told, spans)


def test_version_without_it_is_left_as_it_is(waits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon does not depend on it."""
    monkeypatch.delattr(waits, CONSTANT)

    assert (False, False) == (wait_long(), hasattr(waits, CONSTANT))
