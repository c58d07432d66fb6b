"""What outlives a restart: the policy, the overrides, the daemon's name and its lock."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from memory_daemon import state_folder
from memory_daemon.errors import DaemonError, Reason, StartupError
from memory_daemon.kept_policy import Change
from memory_daemon.marks import GPU_POLICY, Mark, Policy
from memory_daemon.override_store import OVERRIDES_MAXIMUM, OverrideStore
from memory_daemon.state_folder import KeptFile, holder_id, make_folder, take_lock
from memory_daemon.store import PolicyStore
from memory_daemon.types import ModuleName, Override, OverrideKind, ServiceName
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memory_views import SPEECH

GB = 10**9
M = ModuleName("m")


def store_in(folder: Path, initial: Policy = GPU_POLICY) -> PolicyStore:
    """Return a loaded store at second 1,000."""
    store = PolicyStore(folder=folder, initial=initial, unix_clock=ManualClock(1000.0))
    store.load()
    return store


def low(size_bytes: int, *, etag: str = "", validate_only: bool = False) -> Change:
    """Return the change of one mark."""
    return Change(
        apply=lambda policy: replace(policy, low=Mark(size_bytes=size_bytes)),
        etag=etag,
        requested_by="me",
        validate_only=validate_only,
    )


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be written any more."""

    def full(path: Path, data: bytes) -> None:
        del data
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(state_folder, "_write_through", full)


def test_store_without_a_file_has_the_configured_policy(tmp_path: Path) -> None:
    """Before anything was changed the configuration is in force, at revision 0."""
    current = store_in(tmp_path).current

    assert (GPU_POLICY, 0, None, "configuration") == (
        current.policy,
        current.revision,
        current.update_unix_seconds,
        current.updated_by,
    )


def test_changed_policy_survives_a_restart_and_wins_over_the_configuration(tmp_path: Path) -> None:
    """What was changed while the daemon ran is what a restart finds, whoever configured what."""
    store_in(tmp_path).update(low(2 * GB), ())
    current = store_in(tmp_path, replace(GPU_POLICY, grace_seconds=9.0)).current

    assert (replace(GPU_POLICY, low=Mark(size_bytes=2 * GB)), 1, 1000.0, "me") == (
        current.policy,
        current.revision,
        current.update_unix_seconds,
        current.updated_by,
    )


def test_every_change_has_its_own_etag(tmp_path: Path) -> None:
    """An etag names exactly one state: going back and forth never repeats one."""
    store = store_in(tmp_path)
    sizes = (2 * GB, 1_500_000_000, 2 * GB)
    etags = [store.current.etag, *(store.update(low(size_bytes), ())[1].etag for size_bytes in sizes)]

    assert len(set(etags)) == 4
    assert store_in(tmp_path).current.etag == etags[-1]


def test_change_that_changes_nothing_is_none(tmp_path: Path) -> None:
    """The same numbers again are the same revision."""
    store = store_in(tmp_path)
    before, after = store.update(low(1_500_000_000), ())

    assert before is after


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(low(2 * GB, etag="0-other"), Reason.ETAG_MISMATCH, id="based on another state"),
        pytest.param(low(3 * GB), Reason.BAD_CONFIG, id="contradicts high"),
        pytest.param(low(3 * GB, validate_only=True), Reason.BAD_CONFIG, id="only tried"),
    ],
)
def test_refused_change_changes_nothing(tmp_path: Path, change: Change, expected: Reason) -> None:
    """A change is taken as a whole or not at all."""
    store = store_in(tmp_path)
    with pytest.raises(DaemonError) as caught:
        store.update(change, (80 * GB,))

    assert (expected, GPU_POLICY, []) == (caught.value.reason, store.current.policy, list(tmp_path.iterdir()))


def test_tried_change_shows_the_result_and_changes_nothing(tmp_path: Path) -> None:
    """`validate_only` shows what would be."""
    store = store_in(tmp_path)
    _, would_be = store.update(low(2 * GB, etag=store.current.etag, validate_only=True), ())

    assert (Mark(size_bytes=2 * GB), 1) == (would_be.policy.low, would_be.revision)
    assert (GPU_POLICY, []) == (store.current.policy, list(tmp_path.iterdir()))


def test_change_on_a_full_disk_is_an_error_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept is not in force: a restart finds the policy that ran."""
    store = store_in(tmp_path)
    store.update(low(2 * GB), ())
    fill_disk(monkeypatch)
    with pytest.raises(DaemonError, match=r"nothing was changed: .*No space left") as caught:
        store.update(low(1 * GB), ())

    assert (Reason.ENGINE_FAULT, Mark(size_bytes=2 * GB)) == (caught.value.reason, store.current.policy.low)
    assert Mark(size_bytes=2 * GB) == store_in(tmp_path).current.policy.low


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"schema":1,"pol', id="cut off"),
        pytest.param(b"\x00\xff", id="garbage"),
        pytest.param(b'{"schema":2}', id="a newer schema"),
        pytest.param(b'{"schema":1,"policy":{"low":{"size_bytes":1,"percent":1}}}', id="a mark of two kinds"),
    ],
)
def test_corrupt_policy_file_is_put_aside_and_the_last_good_one_used(tmp_path: Path, damage: bytes) -> None:
    """A damaged file costs at most the last change, is said, and is kept for the operator."""
    store = store_in(tmp_path)
    store.update(low(2 * GB), ())
    store.update(low(1 * GB), ())
    (tmp_path / "policy.json").write_bytes(damage)
    again = PolicyStore(folder=tmp_path, initial=GPU_POLICY, unix_clock=ManualClock())
    loaded = again.load()

    assert Mark(size_bytes=2 * GB) == again.current.policy.low
    assert "it was put aside as policy.json.corrupt; the last good one is used" in loaded.trouble
    assert damage == (tmp_path / "policy.json.corrupt").read_bytes()


def test_corrupt_policy_file_without_a_backup_leaves_the_configuration(tmp_path: Path) -> None:
    """Without a last good one the daemon runs on what it was configured with."""
    (tmp_path / "policy.json").write_text("no policy")
    store = PolicyStore(folder=tmp_path, initial=GPU_POLICY, unix_clock=ManualClock())
    loaded = store.load()

    assert GPU_POLICY == store.current.policy
    assert "the defaults are used" in loaded.trouble


def test_policy_file_whose_numbers_contradict_is_corrupt(tmp_path: Path) -> None:
    """A file that was edited into a contradiction is not put in force."""
    store = store_in(tmp_path)
    store.update(low(2 * GB), ())
    path = tmp_path / "policy.json"
    path.write_text(path.read_text().replace("2000000000", "9000000000"))

    assert (
        "must be at least low"
        in PolicyStore(folder=tmp_path, initial=GPU_POLICY, unix_clock=ManualClock()).load().trouble
    )


def test_lost_policy_file_is_replaced_by_its_backup(tmp_path: Path) -> None:
    """A file that is gone while its backup is there was lost in a crash."""
    store = store_in(tmp_path)
    store.update(low(2 * GB), ())
    store.update(low(1 * GB), ())
    (tmp_path / "policy.json").unlink()

    assert Mark(size_bytes=2 * GB) == store_in(tmp_path).current.policy.low


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


def test_holder_id_is_made_once(tmp_path: Path) -> None:
    """The name lasts over restarts, is printable, and differs between folders."""
    first, again, other = holder_id(tmp_path), holder_id(tmp_path), holder_id(tmp_path / "other")

    assert (first, True, True) == (again, first != other, first.isascii() and first.isprintable())


def test_damaged_holder_id_is_made_anew(tmp_path: Path) -> None:
    """A name that is no name is replaced."""
    (tmp_path / "holder-id").write_bytes(b"\xff\n")

    assert holder_id(tmp_path).startswith("memory-daemon-")


def test_lock_that_is_taken_names_its_holder_and_the_way_out(tmp_path: Path) -> None:
    """Two never share a state folder."""
    take_lock(tmp_path / "lock", "do this")

    with pytest.raises(StartupError, match=r"locked by process \d+: another memory-daemon runs here; do this"):
        take_lock(tmp_path / "lock", "do this")


def test_lock_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    """A folder that is not there cannot be locked."""
    with pytest.raises(StartupError, match="cannot be opened"):
        take_lock(tmp_path / "missing" / "lock", "do this")


def test_folder_that_is_a_file_cannot_be_used(tmp_path: Path) -> None:
    """The message says what to do."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StartupError, match="choose another with --state-dir"):
        make_folder(tmp_path / "file" / "state", 0o700)


def test_kept_file_that_is_saved_leaves_no_traces(tmp_path: Path) -> None:
    """Only the file and its backup remain."""
    kept = KeptFile(tmp_path / "file")
    kept.save(b"one")
    kept.save(b"two")

    assert {"file": b"two", "file.last": b"one"} == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
