"""Memory for several segments at once: it comes when it fits beside all speech, and nobody waits for it."""

from collections.abc import Collection
from concurrent.futures import Future

from tests.fakes.manual_clock import ManualClock
from tts_service.company_room import AGAIN_SECONDS, CompanyRoom
from tts_service.errors import Reason, ServiceError
from tts_service.types import ModuleName

MEMORY = frozenset({ModuleName("memory")})
SPEECH = frozenset({ModuleName("t3"), ModuleName("flow")})


class Machine:
    """Where memory may be had or not; `asked` are those that were to come."""

    def __init__(self, *, fits: bool = True) -> None:
        self.fits = fits
        self.is_home = False
        self.asked: list[Future[None]] = []
        self.held: list[frozenset[ModuleName]] = []

    @property
    def room(self) -> "Machine":
        """Itself."""
        return self

    def holds(self, modules: Collection[ModuleName]) -> bool:
        """Tell whether that fits."""
        self.held.append(frozenset(modules))
        return self.fits

    def away(self, modules: Collection[ModuleName]) -> tuple[ModuleName, ...]:
        """Return all or nothing."""
        return () if self.is_home else tuple(modules)

    def prepare(self, modules: Collection[ModuleName]) -> Future[None]:
        """Have it come, by and by."""
        assert set(modules) == set(MEMORY)
        self.asked.append(Future())
        return self.asked[-1]


def test_memory_for_several_comes_once_and_rings() -> None:
    """It is asked for once, together with what speech needs; who asks meanwhile goes without."""
    machine, rings = Machine(), list[int]()
    room = CompanyRoom(machine, SPEECH, lambda: rings.append(1), ManualClock())
    before = [room.is_home(MEMORY) for _ in range(3)]
    machine.is_home = True
    machine.asked[0].set_result(None)

    assert [False, False, False, True] == [*before, room.is_home(MEMORY)]
    assert [1] == rings
    assert [MEMORY | SPEECH] == machine.held


def test_memory_for_several_that_does_not_fit_is_not_asked_for() -> None:
    """Nothing that speech needs leaves for it; it is thought of again after a while."""
    machine, clock = Machine(fits=False), ManualClock()
    room = CompanyRoom(machine, SPEECH, lambda: None, clock)
    room.is_home(MEMORY)
    room.is_home(MEMORY)
    looked = len(machine.held)
    clock.advance(AGAIN_SECONDS)
    machine.fits = True
    room.is_home(MEMORY)

    assert (1, 1) == (looked, len(machine.asked))


def test_memory_for_several_that_was_not_to_be_had_is_asked_for_later() -> None:
    """A restore that failed is no news to those who speak."""
    machine, clock = Machine(), ManualClock()
    room = CompanyRoom(machine, SPEECH, lambda: None, clock)
    room.is_home(MEMORY)
    machine.asked[0].set_exception(ServiceError(Reason.DEVICE_MEMORY, "none"))
    room.is_home(MEMORY)
    soon = len(machine.asked)
    clock.advance(AGAIN_SECONDS)
    room.is_home(MEMORY)

    assert (1, 2) == (soon, len(machine.asked))


def test_memory_for_several_that_was_sent_away_stays_away_for_a_while() -> None:
    """Whoever ordered it away while it was used is not fought, but asked again later."""
    machine, clock = Machine(), ManualClock()
    machine.is_home = True
    room = CompanyRoom(machine, SPEECH, lambda: None, clock)
    room.is_home(MEMORY)
    machine.is_home = False
    room.is_home(MEMORY)
    soon = len(machine.asked)
    clock.advance(AGAIN_SECONDS)
    room.is_home(MEMORY)

    assert (0, 1) == (soon, len(machine.asked))


def test_memory_in_which_several_found_none_is_left_alone_for_a_while() -> None:
    """It is there, and what is done in it lacked more: each goes by itself until later."""
    machine, clock = Machine(), ManualClock()
    machine.is_home = True
    room = CompanyRoom(machine, SPEECH, lambda: None, clock)
    before = room.is_home(MEMORY)
    room.lacked(MemoryError())
    then = room.is_home(MEMORY)
    clock.advance(AGAIN_SECONDS)

    assert (True, False, True) == (before, then, room.is_home(MEMORY))
    assert [] == machine.asked
