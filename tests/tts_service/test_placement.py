"""Decisions about moves, case by case."""

from dataclasses import replace

import pytest

from tests.fakes.situations import NO_WISHES, directed, guest, situation
from tts_service.residency.departures import directed as put_in_force
from tts_service.residency.placement import SHORTAGE_SECONDS, Decision, decide
from tts_service.residency.situation import Shortage, Situation
from tts_service.residency.types import Authority, ModuleState, Tier, Urgency
from tts_service.residency.wishes import with_placed
from tts_service.types import ModuleName

HURRIED = Urgency.WHEN_UNLEASED


def _evicted(decision: Decision) -> str:
    return "".join(move.module for move in decision.moves if move.target is Tier.DISK)


def _restored(decision: Decision) -> str:
    return "".join(move.module for move in decision.moves if move.target is Tier.HOST)


def _pending(decision: Decision) -> set[tuple[str, str]]:
    return {(move.module, move.reason) for move in decision.pending}


@pytest.mark.parametrize(
    ("given", "evicted", "pending"),
    [
        (situation("ab", wishes=directed("a")), "a", set()),
        (situation("ab", wishes=directed("a"), leased="a"), "", {("a", "leased")}),
        (situation("ab", wishes=directed("a"), claimed="a"), "", {("a", "claimed")}),
        (situation("ab", wishes=directed("a", urgency=HURRIED), claimed="a"), "a", set()),
        (situation("ab", wishes=directed("a", urgency=HURRIED), leased="a"), "", {("a", "leased")}),
        (situation("ab", wishes=directed("a"), waiting=["a"]), "", set()),
        (situation("ab", wishes=directed("a", pins="a")), "", {("a", "operator")}),
        (situation("b", wishes=directed("a")), "", set()),
        (situation("ab", wishes=directed(budget=20)), "b", set()),
        (situation("ab", wishes=with_placed(NO_WISHES, ModuleName("a"), Tier.DISK)), "a", set()),
        (
            situation("ab", wishes=with_placed(NO_WISHES, ModuleName("a"), Tier.DISK), claimed="a"),
            "",
            {("a", "claimed")},
        ),
        (situation("ab"), "", set()),
    ],
    ids=[
        "directive",
        "leased",
        "claimed",
        "claimed but in a hurry",
        "leased and in a hurry",
        "a request waits for it",
        "pinned",
        "away already",
        "budget",
        "operator",
        "operator, claimed",
        "nobody wants it away",
    ],
)
def test_module_leaves_when_it_is_wanted_away_and_nothing_keeps_it(
    given: Situation, evicted: str, pending: set[tuple[str, str]]
) -> None:
    """Leases keep every module, claims all but the hurried, requests and pins too; what waits is said with a reason."""
    decision = decide(given, now_seconds=0.0)

    assert (evicted, pending) == (_evicted(decision), _pending(decision))


@pytest.mark.parametrize(
    ("given", "restored", "pending"),
    [
        (situation("", waiting=["ab"]), "ab", set()),
        (situation("", waiting=["b", "a"]), "ba", set()),
        (situation("d", budget=50, waiting=["a"]), "a", set()),
        (situation("", states={"a": ModuleState.BROKEN}, waiting=["a"]), "a", set()),
        (situation("", states={"a": ModuleState.BROKEN}, wishes=directed(home="a")), "", set()),
        (situation("", states={"a": ModuleState.RESTORING}, waiting=["a"]), "", {("a", "moving")}),
        (situation("a", states={"a": ModuleState.EVICTING}, waiting=["a"]), "", {("a", "moving")}),
        (situation("", wishes=directed(home="ab")), "ab", set()),
        (situation("d", wishes=directed(home="ab", budget=50)), "a", {("b", "budget")}),
        (situation("", wishes=directed(home="a", pins="b", budget=25)), "b", {("a", "budget")}),
        (situation(""), "", set()),
    ],
    ids=[
        "wanted now",
        "in the order of requests",
        "just fits",
        "broken, wanted now",
        "broken, wanted in the background",
        "on its way",
        "still leaving",
        "directive",
        "directive as far as there is room",
        "operator before directive",
        "nobody wants it",
    ],
)
def test_module_comes_home_when_it_is_wanted_and_fits(
    given: Situation, restored: str, pending: set[tuple[str, str]]
) -> None:
    """Requests come first, then operators, then the directive; nothing comes that does not fit."""
    decision = decide(given, now_seconds=0.0)

    assert (restored, pending) == (_restored(decision), _pending(decision))


@pytest.mark.parametrize(
    ("given", "evicted"),
    [
        (situation("abc", budget=60, waiting=["d"], last_use={"a": 3, "b": 2, "c": 1}), "c" + "b"),
        (situation("abc", budget=70, waiting=["d"], last_use={"a": 3, "b": 2, "c": 1}), "c"),
        (situation("abc", budget=60, waiting=["d"], last_use={"a": 1, "b": 2, "c": 3}), "bc"),
        (situation("abc", budget=90, waiting=["d"], last_use={"a": 3, "b": 1, "c": 2}, claimed="b"), "c"),
        (situation("abc", budget=80, waiting=["d"], last_use={"a": 1, "b": 2, "c": 3}), "b"),
        (situation("abc", budget=70, waiting=["d"]), "c"),
        (situation("abc", budget=70, waiting=["cd"]), "ab"),
    ],
    ids=[
        "two, coldest first",
        "only as many as needed",
        "the coldest is spared if the next two are needed anyway",
        "unclaimed before claimed",
        "one big enough instead of two",
        "never used: the later in the data path",
        "not what the request itself needs",
    ],
)
def test_modules_that_make_room_are_the_coldest(given: Situation, evicted: str) -> None:
    """For the first request, unclaimed modules leave before claimed ones and cold ones before warm ones."""
    decision = decide(given, now_seconds=10.0)

    assert sorted(evicted) == sorted(_evicted(decision))


def test_module_that_must_make_room_takes_no_new_leases_while_it_is_leased() -> None:
    """A leased module drains, so that the first request is served after the steps that run now."""
    decision = decide(
        situation("ab", budget=40, leased="ab", waiting=["c"], last_use={"a": 1, "b": 2}), now_seconds=3.0
    )

    assert ({"b"}, {"a"}, {("b", "leased"), ("c", "budget")}) == (
        set(decision.leaving),
        set(decision.ready),
        _pending(decision),
    )


def test_module_that_drains_keeps_draining_though_another_has_become_colder() -> None:
    """A choice once made is kept, or two busy modules could take turns at never leaving."""
    given = situation("ab", budget=50, leased="ab", waiting=["c"], last_use={"a": 1, "b": 2})
    given = replace(given, leaving=frozenset({ModuleName("b")}))

    assert {"b"} == set(decide(given, now_seconds=3.0).leaving)


def test_later_request_is_not_made_room_for_but_may_use_what_is_left() -> None:
    """Only the first request makes others leave; the second waits, the third fits beside."""
    decision = decide(situation("d", budget=60, waiting=["b", "c", "b"]), now_seconds=0.0)

    assert ("", "b") == (_evicted(decision), _restored(decision))


@pytest.mark.parametrize(
    ("given", "needed_bytes"),
    [
        (situation("", budget=60, waiting=["cd"]), [70]),
        (situation("", budget=70, waiting=["cd"]), []),
        (situation("a", wishes=directed(pins="a", budget=60), waiting=["bd"]), [70]),
        (situation("", waiting=["abcd"]), []),
        (situation("", budget=0, waiting=["a", "b"]), [10, 20]),
    ],
    ids=["too big", "just fits", "not beside what is pinned", "no budget", "no room for anybody"],
)
def test_request_that_can_never_fit_is_hopeless(given: Situation, needed_bytes: list[int]) -> None:
    """A request that the budget cannot hold beside what is pinned is told what it would need."""
    decision = decide(given, now_seconds=0.0)

    assert needed_bytes == [each.needed_bytes for each in decision.hopeless]


def test_hopeless_request_makes_nobody_leave() -> None:
    """Room is not made for what will not come."""
    decision = decide(situation("a", budget=30, waiting=["d", "b"]), now_seconds=0.0)

    assert ("", "b") == (_evicted(decision), _restored(decision))


@pytest.mark.parametrize(
    ("now_seconds", "leased", "expected"),
    [(19.9, "", ("", 20.0)), (20.0, "", ("d", None)), (99.0, "d", ("", None))],
    ids=["lingers", "leaves", "leased"],
)
def test_module_that_rests_away_leaves_when_it_has_lingered(
    now_seconds: float, leased: str, expected: tuple[str, float | None]
) -> None:
    """By default, a module that rests away leaves ten seconds after its last use, and nobody is told that it waits."""
    given = situation("ad", rest_away="d", last_use={"d": 10.0}, leased=leased)
    decision = decide(given, now_seconds=now_seconds)

    assert (*expected, set()) == (_evicted(decision), decision.wake_seconds, _pending(decision))


@pytest.mark.parametrize(
    ("urgency", "now_seconds", "evicted"),
    [
        (Urgency.WHEN_UNCLAIMED, 104.0, ""),
        (Urgency.WHEN_UNCLAIMED, 106.0, ""),
        (Urgency.WHEN_UNCLAIMED, 108.0, "a"),
        (HURRIED, 104.0, ""),
        (HURRIED, 106.0, "a"),
    ],
)
def test_guest_stays_a_while_after_its_use(urgency: Urgency, now_seconds: float, evicted: str) -> None:
    """A module that came home for a request stays five seconds after its last use; in a hurry, after it came."""
    given = guest(situation("", wishes=directed("a", urgency=urgency), last_use={"a": 103.0}), "a", since_seconds=100.0)
    decision = decide(given, now_seconds=now_seconds)

    assert (evicted, not evicted) == (_evicted(decision), ("a", "claimed") in _pending(decision))


@pytest.mark.parametrize(
    ("urgency", "leased", "evicted", "closed"),
    [(HURRIED, "", "a", ""), (HURRIED, "a", "", "a"), (Urgency.WHEN_UNCLAIMED, "", "", "")],
)
def test_guest_leaves_at_the_end_of_its_lease_when_it_is_asked_to_in_a_hurry_again(
    urgency: Urgency, leased: str, evicted: str, closed: str
) -> None:
    """A new directive was written by somebody who has seen it come back; it takes no new leases either."""
    given = guest(situation("", wishes=directed("a", urgency=HURRIED), leased=leased), "a", since_seconds=100.0)
    decision = decide(put_in_force(given, directed("a", urgency=urgency).directive), now_seconds=100.1)

    assert (evicted, closed) == (_evicted(decision), "".join(decision.leaving))


def test_guest_that_a_directive_asks_away_in_a_hurry_again_first_serves_who_waits() -> None:
    """Its request is what brought it home."""
    given = guest(situation("", wishes=directed("a", urgency=HURRIED), waiting=["a"]), "a", since_seconds=100.0)
    decision = decide(put_in_force(given, given.wishes.directive), now_seconds=100.1)

    assert ("", {"a"}) == (_evicted(decision), set(decision.ready))


def test_module_that_must_leave_in_a_hurry_makes_the_room_that_a_budget_wants() -> None:
    """It leaves when its lease ends, so that no other has to leave for the budget that comes with the order."""
    wishes = directed("c", urgency=HURRIED, budget=30)
    decision = decide(situation("abc", wishes=wishes, leased="c", last_use={"a": 1, "b": 2, "c": 3}), now_seconds=9.0)

    assert ("", {"c"}) == (_evicted(decision), set(decision.leaving))


def test_guest_makes_room_at_once_when_a_request_needs_it() -> None:
    """A guest's stay does not hold up whoever waits."""
    given = guest(situation("", wishes=directed("a"), budget=40, waiting=["d"]), "a", since_seconds=0.0)

    assert "a" == _evicted(decide(given, now_seconds=0.0))


def test_shortage_makes_colder_modules_leave_and_holds_restores_until_the_retry() -> None:
    """Where memory is shorter than the budget says, cold modules go and the restore is tried again a little later."""
    given = situation("abc", waiting=["d"], last_use={"a": 3, "b": 2, "c": 1})
    given = replace(
        given, shortage=Shortage(module=ModuleName("d"), ceiling_bytes=60, retry_seconds=5.0, rest_seconds=0.1)
    )
    early, late = decide(given, now_seconds=4.9), decide(given, now_seconds=5.0)

    assert ("cb", "", 5.0) == ("".join(sorted(_evicted(early), reverse=True)), _restored(early), early.wake_seconds)
    assert "d" == _restored(late)


def test_shortage_is_not_believed_for_long() -> None:
    """A request that comes much later evicts nobody for a shortage of the past."""
    given = situation("abc", waiting=["d"])
    given = replace(
        given, shortage=Shortage(module=ModuleName("d"), ceiling_bytes=70, retry_seconds=5.0, rest_seconds=0.1)
    )
    decision = decide(given, now_seconds=5.0 + SHORTAGE_SECONDS)

    assert ("", "d") == (_evicted(decision), _restored(decision))


def test_shortage_rests_background_restores_until_it_is_forgotten() -> None:
    """What nobody waits for is not tried again and again."""
    given = replace(
        situation("", wishes=directed(home="a")),
        shortage=Shortage(module=ModuleName("d"), ceiling_bytes=0, retry_seconds=5.0, rest_seconds=0.1),
    )
    decision = decide(given, now_seconds=6.0)

    assert ("", 5.0 + SHORTAGE_SECONDS) == (_restored(decision), decision.wake_seconds)


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        (situation("ab", wishes=directed("c")), True),
        (situation("ab", wishes=directed("a")), False),
        (situation("b", wishes=directed("a", home="b")), True),
        (situation("", wishes=directed(home="b")), False),
        (situation("ab", wishes=directed("a", pins="a")), True),
        (situation("", states={"a": ModuleState.BROKEN}, wishes=directed(home="a", pins="a")), False),
        (situation("ab", wishes=directed(budget=30)), True),
        (situation("ab", wishes=directed(budget=29), leased="ab"), False),
        (situation("ab", wishes=directed(budget=5, pins="ab")), True),
        (situation("b", states={"b": ModuleState.EVICTING}, wishes=directed("b")), False),
        (situation("", states={"b": ModuleState.BROKEN}, wishes=directed(home="b")), False),
        (situation("ab"), False),
    ],
    ids=[
        "nothing to do",
        "has to leave",
        "both done",
        "has to come",
        "an operator overrules it",
        "an operator wants the same",
        "within the budget",
        "over the budget",
        "over the budget by what is pinned",
        "on its way",
        "broken",
        "no directive",
    ],
)
def test_directive_is_done_when_everything_is_where_it_should_be(given: Situation, *, settled: bool) -> None:
    """Done is what has happened, not what has been begun; what an operator overrules is nobody's to do."""
    assert settled == decide(given, now_seconds=0.0).settled


@pytest.mark.parametrize(
    ("given", "roomless"),
    [
        (situation("", waiting=["a"]), set()),
        (situation("", states={"a": ModuleState.RESTORING}, waiting=["a"]), set()),
        (situation("c", budget=50, leased="c", waiting=["d"]), {1}),
        (situation("c", budget=50, leased="c", waiting=["d", "c"]), {1, 2}),
        (situation("d", budget=50, leased="d", waiting=["d", "b"]), {2}),
        (situation("", budget=50, states={"d": ModuleState.RESTORING}, waiting=["d", "b"]), {2}),
        (
            replace(
                situation("", states={"d": ModuleState.RESTORING}, waiting=["d"]),
                shortage=Shortage(module=ModuleName("d"), ceiling_bytes=0, retry_seconds=5.0, rest_seconds=0.1),
            ),
            {1},
        ),
    ],
    ids=[
        "sets out",
        "on its way",
        "must wait for a lease to end",
        "must make room itself",
        "fits beside nobody",
        "behind one that takes the room",
        "tries again after a shortage",
    ],
)
def test_request_that_waits_for_memory_is_told_from_one_that_waits_for_a_move(
    given: Situation, roomless: set[int]
) -> None:
    """Who has waited in vain can be told what was missing."""
    assert roomless == set(decide(given, now_seconds=5.0).roomless)


@pytest.mark.parametrize(
    ("given", "authority"),
    [
        (situation("ab", wishes=directed("a")), Authority.DIRECTIVE),
        (situation("ab", wishes=directed(budget=20)), Authority.DIRECTIVE),
        (situation("ab", budget=20), Authority.DEFAULT),
        (situation("ab", wishes=with_placed(NO_WISHES, ModuleName("a"), Tier.DISK)), Authority.OPERATOR),
        (situation("a", budget=40, waiting=["d"]), Authority.DEMAND),
        (situation("a", rest_away="a"), Authority.DEFAULT),
    ],
    ids=["directive", "directed budget", "static budget", "operator", "request", "rests away"],
)
def test_move_says_who_decided_it(given: Situation, authority: Authority) -> None:
    """Each move carries the authority behind it."""
    assert authority is decide(given, now_seconds=100.0).moves[0].authority


@pytest.mark.parametrize(("scratch", "order"), [("c", "cab"), ("cd", "cadb"), ("", "abcd"), ("ad", "abdc")])
def test_first_stages_scratch_memory_and_weights_come_before_all_else(scratch: str, order: str) -> None:
    """What the first stage needs is there first; of the others scratch memory, which takes no time."""
    waiting = situation(waiting=["".join(sorted(order))])
    residences = tuple(replace(each, is_scratch=each.module in scratch) for each in waiting.residences)

    decision = decide(replace(waiting, residences=residences), now_seconds=0)

    assert order == _restored(decision)
