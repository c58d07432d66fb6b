"""What outlives a restart: the policy, the overrides, the daemon's name and its lock."""

from dataclasses import replace
from pathlib import Path

import pytest

from memory_daemon.errors import DaemonError, Reason
from memory_daemon.kept_policy import Change
from memory_daemon.marks import GPU_POLICY, Mark, Policy
from memory_daemon.store import PolicyStore
from memory_daemon.types import ModuleName
from tests.fakes.full_disk import fill_disk
from tests.fakes.manual_clock import ManualClock

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
