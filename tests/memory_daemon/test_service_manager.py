"""What is said to systemd: datagrams on the socket that it names, in time, and never waited for. Both processes do."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import memory_daemon.service_manager
import tts_service.service_manager
from memory_daemon.service_manager import ServiceManager, manager_in
from tests.fakes.manual_clock import ManualClock


class Ear:
    """A socket that hears what is said to it."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(name)

    def heard(self) -> list[str]:
        """Return what was said since the last time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that is set."""
    return ManualClock(100.0)


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    """Listen."""
    made = Ear(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def manager(ear: Ear, clock: ManualClock, tmp_path: Path) -> ServiceManager:
    """Return what a unit with a watchdog of 20 seconds gives."""
    del ear
    return manager_in({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"}, clock)


def test_beginning_and_end_are_said(manager: ServiceManager, ear: Ear) -> None:
    """Ready when it serves, stopping when it ends."""
    manager.ready()
    manager.stopping()

    assert ["READY=1", "STOPPING=1"] == ear.heard()


def test_signs_of_life_come_often_enough_and_no_more_often(
    manager: ServiceManager, ear: Ear, clock: ManualClock
) -> None:
    """A loop that turns ten times a second says so a few times in a watchdog's period."""
    for _ in range(200):
        manager.alive("")
        clock.advance(0.1)
    signs = ear.heard()

    assert {"WATCHDOG=1"} == set(signs)
    assert 4 <= len(signs) <= 9
    assert 5.0 == manager.sign_seconds


def test_words_are_said_when_they_change_but_at_most_once_a_second(
    manager: ServiceManager, ear: Ear, clock: ManualClock
) -> None:
    """What `systemctl status` shows is the newest, a second late at most."""
    for words in ("a", "b", "c"):
        manager.alive(words)
    clock.advance(1.0)
    manager.alive("c")
    manager.alive("c")

    assert ["WATCHDOG=1\nSTATUS=a", "STATUS=c"] == ear.heard()


def test_abstract_socket_is_reached(clock: ManualClock) -> None:
    """A name that begins with @ is no file."""
    name = f"greenroom-test-{os.getpid()}"
    ear = Ear(f"\0{name}")
    ServiceManager(address=f"@{name}", watchdog_seconds=None, clock=clock).ready()
    heard = ear.heard()
    ear.close()

    assert ["READY=1"] == heard


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="nobody started us"),
        pytest.param({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, id="another process is watched"),
        pytest.param({"WATCHDOG_USEC": "soon"}, id="no number"),
        pytest.param({"WATCHDOG_USEC": "0"}, id="no period"),
    ],
)
def test_without_a_watchdog_no_sign_is_due(environment: dict[str, str], clock: ManualClock) -> None:
    """Who does not listen is not spoken to, and the loop rests as long as it likes."""
    manager = manager_in(environment, clock)
    manager.ready()
    manager.alive("words")

    assert manager.sign_seconds is None
    assert 1.0 == manager.turn_seconds


def test_loop_turns_in_time_for_each_sign(clock: ManualClock) -> None:
    """Words once a second are enough, unless a watchdog wants its signs more often."""
    hasty, calm = (ServiceManager(address="", watchdog_seconds=one, clock=clock) for one in (2.0, 60.0))

    assert (0.5, 1.0) == (hasty.turn_seconds, calm.turn_seconds)


def test_manager_that_is_gone_is_said_once(clock: ManualClock, tmp_path: Path) -> None:
    """The daemon goes on without its manager."""
    manager = ServiceManager(address=str(tmp_path / "gone"), watchdog_seconds=1.0, clock=clock)
    with capture_logs() as logs:
        for _ in range(10):
            manager.alive("")
            clock.advance(1.0)

    assert ["service_manager_unreachable"] == [entry["event"] for entry in logs]


def test_manager_that_does_not_read_is_not_waited_for(manager: ServiceManager, clock: ManualClock) -> None:
    """A queue that is full loses words, nothing else."""
    with capture_logs() as logs:
        for number in range(2_000):
            manager.alive(f"words {number}")
            clock.advance(10.0)

    assert 1 == len(logs)


def test_both_processes_speak_to_their_manager_alike() -> None:
    """The processes share no code; so what is written twice is kept the same, and what is shown here holds for both."""
    modules = (memory_daemon.service_manager, tts_service.service_manager)

    assert 1 == len({Path(str(module.__file__)).read_text() for module in modules})
