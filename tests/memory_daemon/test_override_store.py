"""Operators' overrides over restarts, ends and full disks."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from memory_daemon import state_folder
from memory_daemon.errors import DaemonError, Reason
from memory_daemon.override_store import OVERRIDES_MAXIMUM, OverrideStore
from memory_daemon.types import ModuleName, Override, OverrideKind, ServiceName
from tests.fakes.full_disk import fill_disk
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memory_views import SPEECH

M = ModuleName("m")


def override(module: str = "m", *, expires: float | None = None, kind: OverrideKind = OverrideKind.PIN) -> Override:
    """Return an override."""
    return Override(service=SPEECH, module=ModuleName(module), kind=kind, expire_unix_seconds=expires, set_by="me")


def overrides_in(folder: Path, clock: ManualClock | None = None) -> OverrideStore:
    """Return a loaded store."""
    store = OverrideStore(folder=folder, unix_clock=clock or ManualClock(1000.0))
    store.load()
    return store


def test_override_replaces_the_earlier_one_for_its_module(tmp_path: Path) -> None:
    """There is one wish for a module, the newest, and it survives a restart."""
    store = overrides_in(tmp_path)
    store.set(override())
    store.set(override("other"))
    store.set(override(kind=OverrideKind.EVICT))

    assert (override("other"), override(kind=OverrideKind.EVICT)) == overrides_in(tmp_path).active()


def test_override_ends_by_itself_once(tmp_path: Path) -> None:
    """What has run out is not in force, is told once, and is not found by a restart."""
    clock = ManualClock(1000.0)
    store = overrides_in(tmp_path, clock)
    store.set(override(expires=1010.0))
    before = (store.active(), store.expire())
    clock.advance(10.0)
    after = (store.active(), store.expire(), store.expire())

    assert ((override(expires=1010.0),), ()) == before
    assert ((), (override(expires=1010.0),), ()) == after
    assert overrides_in(tmp_path, clock).active() == ()


def test_cleared_override_is_told_and_clearing_again_is_no_error(tmp_path: Path) -> None:
    """Clearing what is not there is no error, and leaves the others."""
    store = overrides_in(tmp_path)
    store.set(override())
    store.set(override("other"))
    actual = (store.clear(SPEECH, M), store.clear(SPEECH, M), store.clear(ServiceName("else"), ModuleName("other")))

    assert (override(), None, None) == actual
    assert (override("other"),) == overrides_in(tmp_path).active()


def test_override_on_a_full_disk_is_an_error_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be kept is not in force."""
    store = overrides_in(tmp_path)
    store.set(override())
    fill_disk(monkeypatch)
    with pytest.raises(DaemonError, match="nothing was changed"):
        store.set(override("other"))
    with pytest.raises(DaemonError, match="nothing was changed"):
        store.clear(SPEECH, M)

    assert (override(),) == store.active()


def test_override_that_ends_on_a_full_disk_ends_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is written in it."""
    store = overrides_in(tmp_path)
    store.set(override(expires=999.0))
    fill_disk(monkeypatch)
    with capture_logs() as logs:
        store.expire()

    assert ((), ["overrides_not_kept"]) == (store.active(), [event["event"] for event in logs])


def test_overrides_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit on everything."""
    monkeypatch.setattr(state_folder, "_write_through", lambda path, data: path.write_bytes(data))
    store = overrides_in(tmp_path)
    for number in range(OVERRIDES_MAXIMUM):
        store.set(override(f"m{number}"))
    with pytest.raises(DaemonError) as caught:
        store.set(override("one more"))
    store.set(override("m0", kind=OverrideKind.HOLD))

    assert (Reason.AT_CAPACITY, OVERRIDES_MAXIMUM) == (caught.value.reason, len(store.active()))


def test_corrupt_overrides_are_put_aside(tmp_path: Path) -> None:
    """Overrides that cannot be read are none, and said."""
    (tmp_path / "overrides.json").write_text('{"schema":1,"overrides":[{"kind":"love"}]}')
    loaded = OverrideStore(folder=tmp_path, unix_clock=ManualClock()).load()

    assert "it was put aside as overrides.json.corrupt" in loaded.trouble
