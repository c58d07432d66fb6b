"""`memctl evict`, `restore`, `pin`, `hold`, `release`: overrides at the daemon, placements past it."""

import time
from collections.abc import Iterator

import pytest

from greenroom.memory.v1 import policy_pb2, residency_pb2
from tests.fakes.fake_governed_service import FakeService
from tests.fakes.memctl_desk import Desk
from tests.fakes.memctl_desk import desk as open_desk

VERBS = {
    "evict": (policy_pb2.OVERRIDE_KIND_EVICT, 600.0),
    "restore": (policy_pb2.OVERRIDE_KIND_PIN, 300.0),
    "pin": (policy_pb2.OVERRIDE_KIND_PIN, None),
    "hold": (policy_pb2.OVERRIDE_KIND_HOLD, None),
}


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk with nothing behind its sockets yet."""
    with open_desk() as one:
        yield one


def asked(desk: Desk) -> policy_pb2.SetOverrideRequest:
    """Return the one override that the daemon was asked for."""
    (request,) = [one for one in desk.daemon.requests if isinstance(one, policy_pb2.SetOverrideRequest)]
    return request


@pytest.mark.parametrize(("verb", "kind", "seconds"), [(verb, *rest) for verb, rest in VERBS.items()])
def test_verb_sets_its_override_for_its_time(desk: Desk, verb: str, kind: int, seconds: float | None) -> None:
    """Each verb asks the daemon for one kind of override, with the time to live that its help tells."""
    desk.serve_daemon()
    answer = desk.type(verb, "voice", "--by", "ann@desk")
    request = asked(desk)
    told = request.time_to_live.ToTimedelta().total_seconds() if request.HasField("time_to_live") else None

    assert 0 == answer.exit_code
    assert ("default", "voice", kind, "ann@desk") == (
        request.override.service,
        request.override.module,
        request.override.kind,
        request.requested_by,
    )
    assert seconds == told


@pytest.mark.parametrize("verb", VERBS)
def test_verb_takes_another_time(desk: Desk, verb: str) -> None:
    """--for replaces the default, for every verb."""
    desk.serve_daemon()
    desk.type(verb, "voice", "--for", "1h30m")

    assert 5_400.0 == asked(desk).time_to_live.ToTimedelta().total_seconds()


def test_override_tells_what_is_in_force(desk: Desk) -> None:
    """The answer has the override and all others of the service, with who and until when."""
    desk.serve_daemon()
    desk.type("pin", "voice", "--by", "ben")
    answer = desk.type("evict", "watermark.detector", "--for", "2m", "--by", "ann")

    assert "watermark.detector of default: evict until " in answer.out
    assert "(2 min), set by ann." in answer.out
    rows = [line.split() for line in answer.out.splitlines()]
    assert ["default", "voice", "pin", "released", "ben"] in rows


def test_override_as_json_has_its_end(desk: Desk) -> None:
    """The document has the override as it is in force, and the others of the service."""
    desk.serve_daemon()
    before = time.time()
    told = desk.type("evict", "voice", "--json", "--by", "ann").document

    assert {"override", "in_force"} == set(told)
    assert {"service", "module", "kind", "expire_unix_seconds", "set_by"} == set(told["override"])
    assert before + 590 < told["override"]["expire_unix_seconds"] < time.time() + 610
    assert ["voice"] == [one["module"] for one in told["in_force"]]


def test_override_of_another_service_goes_there(desk: Desk) -> None:
    """--service names whose module is meant, before or after the command."""
    other = FakeService("gpu-1", governor=desk.service.governor)
    desk.daemon.services = (desk.service, other)
    desk.serve_daemon()
    desk.type("--service", "gpu-1", "evict", "voice")

    assert ("gpu-1", residency_pb2.TIER_DISK) == (asked(desk).override.service, other.module("voice").tier)


def test_command_s_own_option_wins_over_the_one_before_it(desk: Desk) -> None:
    """An option after the command is nearer to it than one before."""
    desk.daemon.services = (FakeService("near"), FakeService("far"))
    desk.serve_daemon()
    desk.type("--service", "far", "pin", "voice", "--service", "near")

    assert "near" == asked(desk).override.service


def test_release_takes_the_override_back(desk: Desk) -> None:
    """After a release nothing is in force, and a second release is no error."""
    desk.serve_daemon()
    desk.type("pin", "voice")
    first = desk.type("release", "voice", "--json").document

    assert {"released": {"service": "default", "module": "voice"}, "in_force": []} == first
    assert 0 == desk.type("release", "voice").exit_code


def test_rehearsing_daemon_is_told_to_move_nothing(desk: Desk) -> None:
    """When the policy's dry_run is on, an override is kept and the operator is told that nothing moves."""
    desk.daemon.policy.dry_run = True
    desk.serve_daemon()

    assert "it moves nothing" in desk.type("evict", "voice").out


def test_module_that_is_not_there_is_told_with_those_that_are(desk: Desk) -> None:
    """A misspelt module is refused with the nearest name."""
    desk.serve_daemon()
    answer = desk.type("evict", "vioce")

    assert 1 == answer.exit_code
    assert "Did you mean 'voice'?" in answer.err


def test_release_of_what_is_no_module_is_told_with_those_that_are(desk: Desk) -> None:
    """A misspelt module is not said to be released; one that is none, but has an override, is."""
    desk.serve_daemon()
    answer = desk.type("release", "voic")
    elsewhere = desk.type("release", "voice", "--service", "defualt")

    assert (1, True) == (answer.exit_code, "Did you mean 'voice'?" in answer.err)
    assert (0, True) == (elsewhere.exit_code, "Did you mean 'default'?" in elsewhere.err)


def test_service_that_is_not_there_is_told_with_those_that_are(desk: Desk) -> None:
    """A misspelt service is refused with the nearest name."""
    desk.serve_daemon()

    assert "Did you mean 'default'?" in desk.type("evict", "voice", "--service", "defualt").err


@pytest.mark.parametrize("time_text", ["0.5s", "31d"])
def test_time_out_of_range_says_which_times_do(desk: Desk, time_text: str) -> None:
    """A time to live that the daemon refuses comes back with the range, in the option's own words."""
    desk.serve_daemon()
    answer = desk.type("evict", "voice", "--for", time_text)

    assert 1 == answer.exit_code
    assert "Give --for a time from 1s to 30d." in answer.err


def test_time_that_is_none_is_wrong_usage(desk: Desk) -> None:
    """A time that cannot be read is refused before anything is dialled."""
    desk.serve_daemon()

    assert 2 == desk.type("evict", "voice", "--for", "soon").exit_code
    assert [] == desk.daemon.requests


@pytest.mark.parametrize("verb", [*VERBS, "release"])
def test_verb_without_a_daemon_tells_the_way_past_it(desk: Desk, verb: str) -> None:
    """Nobody is asked in the daemon's place unless the operator says so; the words to say are printed."""
    desk.service.governor = ""
    desk.serve_service()
    answer = desk.type(verb, "voice")

    assert 3 == answer.exit_code
    assert "No memory daemon is running here" in answer.err
    assert f"`memctl {verb} voice --direct`" in answer.err
    assert residency_pb2.TIER_HOST == desk.service.module("voice").tier


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("evict", residency_pb2.TIER_HOST, residency_pb2.TIER_DISK),
        ("restore", residency_pb2.TIER_DISK, residency_pb2.TIER_HOST),
        ("pin", residency_pb2.TIER_DISK, residency_pb2.TIER_HOST),
        ("hold", residency_pb2.TIER_DISK, residency_pb2.TIER_DISK),
    ],
)
def test_verb_past_the_daemon_asks_the_service_itself(desk: Desk, verb: str, before: int, after: int) -> None:
    """With --direct the service places the module, and says where it is."""
    desk.service.governor = ""
    desk.serve_service()
    desk.service.move("voice", before, residency_pb2.AUTHORITY_DEFAULT)
    answer = desk.type(verb, "voice", "--direct", "--json").document

    assert (after, residency_pb2.AUTHORITY_OPERATOR) == (
        desk.service.module("voice").tier,
        desk.service.module("voice").authority,
    )
    assert ("voice", "") == (answer["placement"]["module"]["module"], answer["placement"]["pending_reason"])


def test_release_past_the_daemon_gives_the_module_back(desk: Desk) -> None:
    """With --direct a release leaves the module to the service's own judgement."""
    desk.service.governor = ""
    desk.serve_service()
    desk.type("evict", "voice", "--direct")
    answer = desk.type("release", "voice", "--direct")

    assert "voice is in disk, decided by default." in answer.out


def test_move_past_the_daemon_that_must_wait_says_why(desk: Desk) -> None:
    """A module in use is told to go when it can."""
    desk.service.governor = ""
    desk.service.module("voice").leases = 1
    desk.serve_service()

    assert "goes as soon as it can: leased." in desk.type("evict", "voice", "--direct").out


def test_governed_service_is_not_asked_past_its_daemon(desk: Desk) -> None:
    """GOVERNED comes back with the way out, and the holder for scripts."""
    desk.serve_service()
    answer = desk.type("evict", "voice", "--direct")

    assert 1 == answer.exit_code
    assert "leave out --direct" in answer.err
    assert {"holder": "box-1", "expires_in": "7s"} == desk.type("evict", "voice", "--direct", "--json").error[
        "metadata"
    ]


def test_time_past_the_daemon_is_wrong_usage(desk: Desk) -> None:
    """Only the daemon keeps time, so --for and --direct exclude each other."""
    answer = desk.type("evict", "voice", "--direct", "--for", "1m")

    assert 2 == answer.exit_code


def test_module_past_the_daemon_that_is_not_there_is_told_with_those_that_are(desk: Desk) -> None:
    """The service's own modules are named."""
    desk.service.governor = ""
    desk.serve_service()
    error = desk.type("evict", "vioce", "--direct", "--json").error

    assert "MODULE_NOT_FOUND" == error["reason"]
    assert error["way_out"].startswith("Did you mean 'voice'?")


def test_service_may_be_named_by_its_socket(desk: Desk) -> None:
    """A path in --service is the control socket to ask."""
    desk.service.governor = ""
    desk.serve_service()
    path = desk.service_socket("default")

    assert 0 == desk.type("evict", "voice", "--direct", "--service", str(path)).exit_code
