"""`memctl get` and `memctl set` against a daemon that enforces the proto's rules."""

import getpass
import os
from collections.abc import Iterator

import pytest

from greenroom.memory.v1 import policy_pb2
from memctl.settings import SETTINGS
from tests.fakes.fake_policy_rules import duration
from tests.fakes.fake_policy_service import FakeDaemon
from tests.fakes.memctl_desk import Desk
from tests.fakes.memctl_desk import desk as open_desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk with a daemon and a service."""
    with open_desk() as one:
        one.serve_daemon()
        one.serve_service()
        yield one


def updates(desk: Desk) -> list[policy_pb2.UpdatePolicyRequest]:
    """Return the changes that the daemon was asked for."""
    return [one for one in desk.daemon.requests if isinstance(one, policy_pb2.UpdatePolicyRequest)]


def test_get_shows_every_number_and_what_the_marks_mean_here(desk: Desk) -> None:
    """The table has a line for every setting, the marks also in bytes of the device, and the version."""
    answer = desk.type("get", columns=140)
    lines = answer.out.splitlines()

    assert 0 == answer.exit_code
    assert {setting.name for setting in SETTINGS} <= {line.split(" ")[0] for line in lines}
    assert ["low", "10%", "819", "MiB", "free", "memory"] in [line.split()[:6] for line in lines]
    assert "revision 1, etag e1, never changed" in lines


def test_get_says_who_changed_the_policy_last(desk: Desk) -> None:
    """After a change the table names who made it."""
    desk.type("set", "low=1GiB", "--by", "ann@desk")

    assert "by ann@desk" in desk.type("get").out


def test_get_as_json_has_units_in_its_keys(desk: Desk) -> None:
    """The document has numbers with units in the keys, and the marks of each device in bytes."""
    told = desk.type("get", "--json").document

    assert {"policy", "update_unix_seconds", "updated_by", "marks"} == set(told)
    assert {setting.key for setting in SETTINGS} | {"etag", "revision"} == set(told["policy"])
    assert [{"percent": 10.0}, 1.0, 6_000_000_000, True] == [
        told["policy"][key] for key in ("low", "grace_seconds", "worst_fill_bytes_per_second", "background_restore")
    ]
    levels = {"critical_bytes": 2**33 * 5 // 100, "low_bytes": 2**33 // 10, "high_bytes": 2**33 * 15 // 100}
    assert [{"device": "host", "marks": levels}] == told["marks"]


def test_get_service_asks_the_service_itself(desk: Desk) -> None:
    """Modules come from the service's own socket, with its instance."""
    told = desk.type("get", "service", "--json").document

    assert ["voice", "watermark.encoder", "watermark.detector"] == [one["module"] for one in told["report"]["modules"]]
    assert ("default", "instance-1") == (told["service"], told["service_instance_id"])


@pytest.mark.parametrize("columns", [80, 140])
def test_get_service_for_people_fits_the_terminal(desk: Desk, columns: int) -> None:
    """The modules' table has as many columns as fit, and a move that waits is told with its reason."""
    desk.service.report.pending_moves.add(module="voice", tier=3, reason="claimed")
    answer = desk.type("get", "service", columns=columns)
    table = [line for line in answer.out.splitlines() if line.startswith(("voice ", "watermark."))]

    assert "voice should go to disk: claimed" in answer.out
    assert all(len(line) <= columns and "…" not in line for line in table)
    assert ("HOLDS" in answer.out) is (columns == 140)


def test_get_status_shows_memory_services_overrides_and_decisions(desk: Desk) -> None:
    """Everything that the daemon knows is shown at once."""
    desk.daemon.decisions.append(policy_pb2.Decision(service="default", version=4, reason="low for 1 s", evict=["t3"]))
    desk.type("pin", "voice", "--by", "ann@desk")
    shown = desk.type("get", "status").out

    assert all(words in shown for words in ("host    room", "epoch 3", "ann@desk", "evict t3", "low for 1 s"))


def test_get_status_as_json_is_one_document(desk: Desk) -> None:
    """The status for scripts has all parts under stable keys."""
    told = desk.type("get", "status", "--json").document

    assert {
        "unix_seconds",
        "holder_id",
        "devices",
        "services",
        "overrides",
        "decisions",
        "policy",
        "freeze",
        "predictions",
        "ledgers",
    } == set(told)


def test_set_changes_the_named_numbers_only_and_shows_before_and_after(desk: Desk) -> None:
    """The mask holds what was named, who asks is recorded, and the answer shows the change."""
    answer = desk.type("set", "low=2GiB", "high=30%", "grace=2s", "dry_run=true", "--by", "ann@desk")
    (request,) = updates(desk)

    assert 0 == answer.exit_code
    assert ["low", "high", "grace", "dry_run"] == list(request.update_mask.paths)
    assert ("ann@desk", "e1", False) == (request.requested_by, request.etag, request.validate_only)
    assert (2**31, 30.0, 2.0, True, 2) == (
        desk.daemon.policy.low.bytes,
        desk.daemon.policy.high.percent,
        desk.daemon.policy.grace.ToTimedelta().total_seconds(),
        desk.daemon.policy.dry_run,
        desk.daemon.policy.revision,
    )
    assert ["low", "10%", "->", "2GiB"] in [line.split() for line in answer.out.splitlines()]
    assert "Revision 2, etag e2" in answer.out
    assert "it moves nothing" in answer.out


def test_set_of_what_is_so_already_says_unchanged(desk: Desk) -> None:
    """Asking for the present value is no error, and is told to have changed nothing."""
    told = desk.type("set", "low=10%", "grace=3s", "--json").document

    assert ["grace"] == told["changed"]
    assert "unchanged" in desk.type("set", "low=10%").out


@pytest.mark.parametrize("flag", ["--validate-only", "--dry-run"])
def test_set_that_only_tries_shows_the_result_and_changes_nothing(desk: Desk, flag: str) -> None:
    """A trial is checked by the daemon, and the policy stays as it is."""
    answer = desk.type("set", "low=2GiB", "high=3GiB", flag)

    assert "Nothing was changed" in answer.out
    assert (10.0, 1) == (desk.daemon.policy.low.percent, desk.daemon.policy.revision)


def test_set_as_json_has_both_policies(desk: Desk) -> None:
    """The document has what was, what is, and what differs."""
    told = desk.type("set", "low=1GiB", "--json").document

    assert {"validate_only", "changed", "before", "after"} == set(told)
    assert ({"percent": 10.0}, {"bytes": 2**30}, 2) == (
        told["before"]["low"],
        told["after"]["low"],
        told["after"]["revision"],
    )


def test_set_that_contradicts_itself_names_the_field_and_the_marks_in_force(desk: Desk) -> None:
    """A refusal tells which field is wrong, what is in force, and how to get past it; nothing is changed."""
    answer = desk.type("set", "low=7GiB")

    assert 1 == answer.exit_code
    assert "high: must be at least low" in answer.err
    assert "In force: critical 5%, low 10%, high 15%." in answer.err
    assert 1 == desk.daemon.policy.revision


def test_set_out_of_range_says_what_is_allowed(desk: Desk) -> None:
    """A number out of its range comes back with the range."""
    error = desk.type("set", "cool_down=11m", "grace=1h", "--json").error

    assert ("BAD_CONFIG", 1) == (error["reason"], error["exit_code"])
    assert ["cool_down", "grace"] == sorted(one["field"] for one in error["fields"])
    assert "Nothing was changed" in error["way_out"]


def test_set_with_a_stale_etag_is_refused_with_the_new_one(desk: Desk) -> None:
    """A change based on an old version is refused, and the words tell the present one."""
    desk.daemon.change_behind(grace=duration(3))
    answer = desk.type("set", "low=1GiB", "--etag", "e1")

    assert 1 == answer.exit_code
    assert "repeat with --etag e2" in answer.err
    assert 10.0 == desk.daemon.policy.low.percent


def test_set_with_the_present_etag_is_accepted(desk: Desk) -> None:
    """The version that `get` told is good until somebody changes something."""
    etag = desk.type("get", "--json").document["policy"]["etag"]

    assert 0 == desk.type("set", "low=1GiB", "--etag", etag).exit_code


class RacedDaemon(FakeDaemon):
    """A daemon whose policy somebody else changes right after it was read, a number of times."""

    races = 0

    def GetPolicy(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Tell the policy, then change it."""
        told = policy_pb2.GetPolicyResponse()
        told.CopyFrom(super().GetPolicy(request, context))
        if self.races:
            self.races -= 1
            self.change_behind(grace=duration(10 + self.races))
        return told


@pytest.mark.parametrize(("races", "exit_code"), [(1, 0), (2, 0), (3, 1)])
def test_set_without_an_etag_tries_again_when_somebody_was_faster(races: int, exit_code: int) -> None:
    """A change that does not depend on the old values survives two races, and a third one is told."""
    with open_desk() as desk:
        desk.daemon = RacedDaemon()
        desk.daemon.races = races
        desk.serve_daemon()
        answer = desk.type("set", "low=1GiB")

    assert exit_code == answer.exit_code
    assert (desk.daemon.policy.low.bytes == 2**30) is (exit_code == 0)


@pytest.mark.parametrize(
    "words", [["low"], ["lo=2GiB"], ["low=2"], ["low=2GiB", "low=3GiB"], ["grace=soon"], [], ["etag=e9"]]
)
def test_set_of_nonsense_is_wrong_usage_and_asks_nobody(desk: Desk, words: list[str]) -> None:
    """What cannot be read is refused before anything is dialled."""
    answer = desk.type("set", *words)

    assert 2 == answer.exit_code
    assert [] == desk.daemon.requests


def test_set_by_a_user_without_a_name_is_recorded_by_number(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user need not have a name; the number does."""
    monkeypatch.setattr(getpass, "getuser", nameless)
    desk.type("set", "low=1GiB")
    (request,) = updates(desk)

    assert request.requested_by.startswith(f"{os.getuid()}@")


def nameless() -> str:
    """Fail as `getpass.getuser` does for a user without a name."""
    raise KeyError("uid not found")


def test_set_says_by_default_who_sits_here(desk: Desk) -> None:
    """Without --by the user at this machine is recorded."""
    desk.type("set", "low=1GiB")
    (request,) = updates(desk)
    user, at, host = request.requested_by.partition("@")

    assert (True, "@", True) == (bool(user), at, bool(host))
