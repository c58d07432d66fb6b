"""Decisions where home is a device: three tiers, of which two are away."""

from dataclasses import replace

import pytest

from tests.fakes.situations import NO_WISHES, device_situation, placed
from tts_service.residency.placement import SHORTAGE_SECONDS, Decision, decide
from tts_service.residency.situation import Shortage, Situation
from tts_service.residency.types import Authority, ModuleState, Tier, Urgency
from tts_service.residency.wishes import with_placed
from tts_service.types import ModuleName

DEVICE, HOST, DISK = Tier.DEVICE, Tier.HOST, Tier.DISK
HURRIED = Urgency.WHEN_UNLEASED
HOST_SHORT = Shortage(module=ModuleName("d"), ceiling_bytes=None, retry_seconds=5.0, rest_seconds=0.1)
DEVICE_SHORT = Shortage(module=ModuleName("d"), ceiling_bytes=0, retry_seconds=5.0, rest_seconds=0.1)


def _moves(decision: Decision) -> list[str]:
    return [f"{move.module} {move.source.name}-{move.target.name}" for move in decision.moves]


def _pending(decision: Decision) -> list[str]:
    return [f"{move.module} {move.tier.name} {move.reason}" for move in decision.pending]


@pytest.mark.parametrize(
    ("given", "moves", "pending"),
    [
        (device_situation({"a": DEVICE}, wishes=placed({"a": HOST})), ["a DEVICE-HOST"], []),
        (device_situation({"a": DEVICE}, wishes=placed({"a": DISK})), ["a DEVICE-DISK"], []),
        (device_situation({"a": HOST}, wishes=placed({"a": DISK})), ["a HOST-DISK"], []),
        (device_situation({"a": DISK}, wishes=placed({"a": HOST})), ["a DISK-HOST"], []),
        (device_situation({"a": HOST}, wishes=placed({"a": DEVICE})), ["a HOST-DEVICE"], []),
        (device_situation({"a": DISK}, wishes=placed({"a": DEVICE})), ["a DISK-DEVICE"], []),
        (device_situation({"a": HOST}, wishes=placed({"a": HOST})), [], []),
        (device_situation({"a": DISK}), [], []),
        (device_situation({"a": HOST}), [], []),
        (device_situation({"a": HOST}, wishes=with_placed(NO_WISHES, ModuleName("a"), DISK)), ["a HOST-DISK"], []),
        (device_situation({"a": HOST}, wishes=placed({"a": DISK}), claimed="a"), [], ["a DISK claimed"]),
        (device_situation({"a": HOST}, wishes=placed({"a": DISK}, urgency=HURRIED), claimed="a"), ["a HOST-DISK"], []),
        (device_situation({"a": DISK}, wishes=placed({"a": HOST}), claimed="a"), ["a DISK-HOST"], []),
        (device_situation({"a": HOST}, wishes=placed({"a": DISK}), waiting=["a"]), ["a HOST-DEVICE"], []),
        (
            device_situation(
                {"a": HOST}, wishes=placed({"a": DISK}, urgency=HURRIED), states={"a": ModuleState.BROKEN}
            ),
            [],
            [],
        ),
        (device_situation({"a": DEVICE}, wishes=placed({"a": HOST}), leased="a"), [], ["a HOST leased"]),
        (
            device_situation({"a": DISK}, wishes=placed({"a": DEVICE}), states={"a": ModuleState.RESTORING}),
            [],
            ["a DEVICE moving"],
        ),
        (
            device_situation({"a": DISK}, states={"a": ModuleState.RESTORING}, bound_for={"a": HOST}, waiting=["a"]),
            [],
            ["a HOST moving"],
        ),
        (
            device_situation({"a": HOST}, states={"a": ModuleState.EVICTING}, bound_for={"a": DISK}, waiting=["a"]),
            [],
            ["a DISK moving"],
        ),
        (device_situation({"a": DEVICE}, rest_away="a"), ["a DEVICE-HOST"], []),
    ],
    ids=[
        "device to host",
        "device to disk",
        "host to disk",
        "disk to host",
        "host to device",
        "disk to device",
        "there already",
        "nobody wants it off the disk",
        "nobody wants it off the host",
        "operator",
        "claimed",
        "claimed, in a hurry",
        "claimed, coming nearer",
        "a request waits for it",
        "broken",
        "leased",
        "on its way home",
        "on its way to the host, and wanted at home",
        "on its way to disk, and wanted at home",
        "rests away",
    ],
)
def test_module_moves_to_whatever_tier_it_is_wanted_in(given: Situation, moves: list[str], pending: list[str]) -> None:
    """Every way between tiers is one move; leases, claims, requests and moves under way keep a module where it is."""
    decision = decide(given, now_seconds=100.0)

    assert (moves, pending) == (_moves(decision), _pending(decision))


def test_module_that_makes_room_goes_to_the_host_unless_it_is_wanted_on_disk() -> None:
    """Room at home costs no more than it must: what left for want of room comes back without the disk."""
    tiers = {"a": DEVICE, "b": DEVICE, "c": DEVICE, "d": HOST}
    plain = decide(device_situation(tiers, budget=60, waiting=["d"]), now_seconds=0.0)
    guest = device_situation(tiers, wishes=placed({"c": DISK}), budget=60, waiting=["d"], claimed="c")

    assert ["b DEVICE-HOST", "c DEVICE-HOST"] == _moves(plain)
    assert "c DEVICE-DISK" in _moves(decide(guest, now_seconds=0.0))


def test_module_on_its_way_to_the_host_takes_no_room_at_home() -> None:
    """Only what is bound for home counts there."""
    given = device_situation(
        {"d": HOST}, budget=40, waiting=["d"], states={"a": ModuleState.RESTORING}, bound_for={"a": HOST}
    )

    assert ["d HOST-DEVICE"] == _moves(decide(given, now_seconds=0.0))


def test_move_beside_home_says_who_decided_it() -> None:
    """It carries the authority behind it as every move does."""
    given = device_situation({"a": HOST}, wishes=placed({"a": DISK}))

    assert Authority.DIRECTIVE is decide(given, now_seconds=0.0).moves[0].authority


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        (device_situation({"a": HOST}, wishes=placed({"a": HOST})), True),
        (device_situation({"a": HOST}, wishes=placed({"a": DISK})), False),
        (device_situation({"a": DISK}, wishes=placed({"a": HOST})), False),
        (device_situation({"a": HOST}, wishes=placed({"a": DISK}), claimed="a"), False),
    ],
    ids=["there", "on the host", "on disk", "claimed"],
)
def test_directive_is_done_when_modules_are_in_exactly_their_tiers(given: Situation, *, settled: bool) -> None:
    """Away is not enough: the host and the disk are two places."""
    assert settled == decide(given, now_seconds=0.0).settled


def test_host_memory_that_is_short_evicts_nobody_and_holds_up_only_what_comes_from_disk() -> None:
    """Who leaves the device frees no host memory, and who comes from the host needs none."""
    given = device_situation({"a": DEVICE, "b": HOST}, waiting=["c", "b"])
    early = decide(replace(given, shortage=HOST_SHORT), now_seconds=4.9)
    late = decide(replace(given, shortage=HOST_SHORT), now_seconds=5.0)

    assert (["b HOST-DEVICE"], ["c DEVICE budget"], {1}) == (_moves(early), _pending(early), set(early.roomless))
    assert ["c DISK-DEVICE", "b HOST-DEVICE"] == _moves(late)


def test_host_memory_that_is_short_rests_moves_that_nobody_waits_for() -> None:
    """A directive's wish to have a module on the host is tried again when the shortage is forgotten."""
    given = replace(device_situation({}, wishes=placed({"a": HOST})), shortage=HOST_SHORT)
    early, late = decide(given, now_seconds=6.0), decide(given, now_seconds=5.0 + SHORTAGE_SECONDS)

    assert ([], ["a HOST budget"], 5.0 + SHORTAGE_SECONDS) == (_moves(early), _pending(early), early.wake_seconds)
    assert ["a DISK-HOST"] == _moves(late)


def test_device_memory_that_is_short_does_not_keep_modules_from_the_host() -> None:
    """What stays beside home needs no room there."""
    given = replace(device_situation({}, wishes=placed({"a": HOST})), shortage=DEVICE_SHORT)

    assert ["a DISK-HOST"] == _moves(decide(given, now_seconds=0.0))
