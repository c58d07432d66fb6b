"""Taking changes of the policy back, and reading the configuration again."""

from dataclasses import replace
from pathlib import Path

import pytest

from memory_daemon.errors import DaemonError, Reason
from memory_daemon.kept_policy import EARLIER_MAXIMUM, Change, Undo, steps
from memory_daemon.marks import GPU_POLICY
from memory_daemon.store import PolicyStore
from tests.fakes.manual_clock import ManualClock


@pytest.fixture
def store(tmp_path: Path) -> PolicyStore:
    """Return a store at second 1,000, in which the grace became 2, 3 and 4 s."""
    found = store_in(tmp_path)
    for seconds in (2.0, 3.0, 4.0):
        found.update(grace(seconds), ())
    return found


def store_in(folder: Path) -> PolicyStore:
    """Return a loaded store."""
    found = PolicyStore(folder=folder, initial=GPU_POLICY, unix_clock=ManualClock(1000.0))
    found.load()
    return found


def grace(seconds: float) -> Change:
    """Return the change of the grace."""
    return Change(apply=lambda policy: replace(policy, grace_seconds=seconds), requested_by=f"by {seconds:g}")


def test_undo_goes_back_one_change_at_a_time(store: PolicyStore) -> None:
    """Each undo is a revision of its own, and the next one goes further back."""
    told = [store.undo(Undo(requested_by="me"), ())[1] for _ in range(3)]

    assert [(3.0, 4, "me"), (2.0, 5, "me"), (1.0, 6, "me")] == [
        (one.policy.grace_seconds, one.revision, one.updated_by) for one in told
    ]


def test_undo_to_a_revision_takes_back_all_since(store: PolicyStore) -> None:
    """What was in force at that revision is in force again, and what was before it can still be had."""
    store.undo(Undo(revision=1), ())

    assert (2.0, [0]) == (store.current.policy.grace_seconds, [one.revision for one in store.current.earlier])


@pytest.mark.parametrize(
    ("undo", "expected"),
    [
        pytest.param(Undo(revision=9), Reason.BAD_CONFIG, id="a revision that was not"),
        pytest.param(Undo(revision=3), Reason.BAD_CONFIG, id="the revision in force"),
        pytest.param(Undo(etag="0-other"), Reason.ETAG_MISMATCH, id="based on another state"),
    ],
)
def test_undo_that_makes_no_sense_changes_nothing(store: PolicyStore, undo: Undo, expected: Reason) -> None:
    """An undo is taken as a whole or not at all."""
    before = store.current
    with pytest.raises(DaemonError) as caught:
        store.undo(undo, ())

    assert (expected, before) == (caught.value.reason, store.current)


def test_undo_without_a_change_says_so(tmp_path: Path) -> None:
    """What came from the configuration cannot be taken back."""
    with pytest.raises(DaemonError) as caught:
        store_in(tmp_path).undo(Undo(), ())

    assert Reason.NOTHING_TO_UNDO == caught.value.reason


def test_undo_that_is_tried_changes_nothing(store: PolicyStore) -> None:
    """`validate_only` shows what would be."""
    before = store.current
    _, would_be = store.undo(Undo(validate_only=True), ())

    assert (3.0, before) == (would_be.policy.grace_seconds, store.current)


def test_undo_works_after_a_restart(store: PolicyStore, tmp_path: Path) -> None:
    """What was before is kept with the policy."""
    again = store_in(tmp_path)
    again.undo(Undo(), ())

    assert (store.current.etag[:2], 3.0) == ("3-", again.current.policy.grace_seconds)


def test_changes_tell_who_and_from_what_to_what(store: PolicyStore) -> None:
    """The newest change comes first."""
    told = [(one.revision, one.updated_by, one.numbers) for one in steps(store.current)]

    assert (3, "by 4", {"grace_seconds": ("3.0", "4.0")}) == told[0]
    assert [3, 2, 1] == [revision for revision, _, _ in told]


def test_earlier_policies_are_bounded(tmp_path: Path) -> None:
    """However often the policy is tuned, the file does not grow for ever."""
    found = store_in(tmp_path)
    for step in range(EARLIER_MAXIMUM + 5):
        found.update(grace(2.0 + step), ())

    assert EARLIER_MAXIMUM == len(found.current.earlier) == len(steps(store_in(tmp_path).current))


def test_reload_puts_the_file_in_force_as_a_whole_and_can_be_taken_back(store: PolicyStore) -> None:
    """What was tuned goes, a number that is not set goes back to the new file's, and undo brings the tuning back."""
    fresh = replace(GPU_POLICY, cool_down_seconds=7.0)
    store.reload(fresh, "file")

    assert (fresh, fresh, "file") == (store.current.policy, store.initial, store.current.updated_by)

    store.undo(Undo(), ())

    assert (4.0, 2.0) == (store.current.policy.grace_seconds, store.current.policy.cool_down_seconds)


def test_reload_of_the_same_file_changes_nothing(tmp_path: Path) -> None:
    """A signal that finds nothing new makes no revision."""
    found = store_in(tmp_path)
    before, after = found.reload(GPU_POLICY, "file")

    assert before is after
