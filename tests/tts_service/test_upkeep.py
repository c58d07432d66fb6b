"""What leaves at the static marks and for a trim: a table of situations."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.fakes.situations import NO_WISHES, directed, situation
from tts_service.errors import StartupError
from tts_service.residency.leases import keep
from tts_service.residency.situation import Situation
from tts_service.residency.types import ModuleState, Tier
from tts_service.residency.upkeep import StaticMarks, check_marks, relief, to_trim
from tts_service.residency.wishes import with_placed
from tts_service.types import ModuleName

NOW = 100.0
LOW = StaticMarks(low_bytes=100)
BOTH = StaticMarks(low_bytes=100, critical_bytes=50)
USED = {"a": 90.0, "b": 80.0, "c": 70.0, "d": 60.0}


@pytest.mark.parametrize(
    ("marks", "free_bytes", "given", "left"),
    [
        (LOW, 100, situation("abcd", last_use=USED), ""),
        (LOW, 99, situation("abcd", last_use=USED), "d"),
        (LOW, 59, situation("abcd", last_use=USED), "dc"),
        (LOW, 0, situation("abcd", last_use=USED), "dcba"),
        (LOW, 99, situation("abcd"), "d"),
        (LOW, 99, situation("ab", last_use=USED), "b"),
        (LOW, 0, situation("abcd", last_use=USED, leased="d", claimed="c"), "ba"),
        (LOW, 0, situation("abcd", last_use=USED, waiting=["d"]), "cba"),
        (LOW, 0, situation("abcd", last_use={**USED, "d": 96.0}), "cba"),
        (LOW, 0, situation("abcd", wishes=directed(pins="d"), last_use=USED), ""),
        (LOW, 0, situation("abcd", wishes=with_placed(NO_WISHES, ModuleName("d"), Tier.HOST)), "cba"),
        (LOW, 0, situation("abcd", wishes=directed()), ""),
        (LOW, 0, situation("abcd", states={"c": ModuleState.EVICTING}), ""),
        (LOW, 0, situation("abc", states={"d": ModuleState.RESTORING}), ""),
        (BOTH, 50, situation("abcd", last_use=USED, claimed="abcd"), ""),
        (BOTH, 49, situation("abcd", last_use=USED, claimed="abcd"), "d"),
        (BOTH, 0, situation("abcd", last_use=USED, claimed="abc"), "dc"),
        (BOTH, 0, situation("abcd", last_use=USED, claimed="abcd", leased="dc"), "ba"),
        (BOTH, 0, situation("abcd", last_use={**USED, "d": 99.0}, claimed="c"), "bad"),
        (StaticMarks(critical_bytes=50), 49, situation("abcd", last_use=USED, claimed="d"), "c"),
        (StaticMarks(), 0, situation("abcd"), ""),
    ],
)
def test_modules_that_leave_at_the_marks(marks: StaticMarks, free_bytes: int, given: Situation, left: str) -> None:
    """Idle ones leave below low, coldest first and no more than needed; claimed ones below critical, leased never."""
    chosen = relief(given, marks, free_bytes=free_bytes, now_seconds=NOW)

    assert list(left) == list(chosen)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (situation("abcd", last_use=USED), "dcba"),
        (situation("abcd", last_use={**USED, "d": NOW}), "cbad"),
        (situation("ab"), "ba"),
        (situation("abcd", leased="a", claimed="b", waiting=["c"]), "d"),
        (situation("abcd", wishes=directed("a", home="bc")), "da"),
        (situation("abcd", wishes=directed(pins="abc")), "d"),
        (situation("abcd", states={"d": ModuleState.RESTORING}), "cba"),
    ],
)
def test_modules_that_leave_for_a_trim(given: Situation, left: str) -> None:
    """Whatever nobody uses, claims, waits for, pinned or wants at home; under a directive, too."""
    assert list(left) == list(to_trim(given, modules=True))


def test_trim_without_modules_sends_scratch_alone(scratch_c: Callable[[Situation], Situation]) -> None:
    """Scratch memory is worth nothing while it is idle, so that it leaves unasked; in use it stays."""
    idle, used = scratch_c(situation("abcd")), scratch_c(situation("abcd", leased="c"))

    assert (("c",), ()) == (to_trim(idle, modules=False), to_trim(used, modules=False))


def test_what_is_kept_for_what_is_in_it_never_leaves() -> None:
    """Pages of an utterance that is being spoken are lost to nobody's need."""
    given = situation("abcd", last_use=USED)
    kept = replace(given, leases=keep(given.leases, ModuleName("c"), 1))

    assert ("dba", "dba") == (
        "".join(relief(kept, BOTH, free_bytes=0, now_seconds=NOW)),
        "".join(to_trim(kept, modules=True)),
    )


@pytest.fixture
def scratch_c() -> Callable[[Situation], Situation]:
    """Return what makes module c scratch memory."""

    def made(given: Situation) -> Situation:
        residences = tuple(replace(each, is_scratch=each.module == "c") for each in given.residences)
        return replace(given, residences=residences)

    return made


def test_marks_where_nobody_knows_what_is_free_stop_the_start() -> None:
    """A mark that cannot be kept is not silently ignored; none needs no reading."""
    with pytest.raises(StartupError, match="static_low_bytes"):
        check_marks(LOW, lambda: None)

    assert [None, None] == [check_marks(LOW, lambda: 0), check_marks(StaticMarks(), lambda: None)]
