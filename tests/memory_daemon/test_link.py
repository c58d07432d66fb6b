"""The link against a real gRPC service on a Unix socket that enforces the protocol."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from memory_daemon.link import Greeting, Link
from memory_daemon.link_view import LinkState
from memory_daemon.types import Directive, ModuleName, Placement, Tier, Wish
from tests.fakes.fake_service import FakeService

MODULES = {"voice": 1000, "detector": 500}
GREETING = Greeting(holder_id="holder", display_name="test", takeover=False)
EVICT_VOICE = Wish(placements=(Placement(module=ModuleName("voice"), tier=Tier.DISK),))
FIRST = Directive(version=1, wish=Wish(), valid_for_seconds=2.0, renewal_seconds=0.1)


def wait_until(holds: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Wait for something that no condition tells."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.005)
    return holds()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """End what a test begins, in the opposite order."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def service(tmp_path: Path, stack: ExitStack) -> FakeService:
    """Run a service with two modules."""
    return stack.enter_context(running(FakeService(tmp_path / "speech.sock", MODULES)))


@contextmanager
def running(fake: FakeService) -> Iterator[FakeService]:
    """Let a service run."""
    fake.start()
    try:
        yield fake
    finally:
        if fake.socket.exists():
            fake.stop()


@contextmanager
def linked(socket: Path, greeting: Greeting = GREETING, silence_seconds: float = 5.0) -> Iterator[Link]:
    """Let a link govern a socket, without spreading its retries."""
    link = Link(
        socket=socket,
        greeting=greeting,
        clock=time.monotonic,
        jitter=lambda: 0.0,
        on_change=lambda: None,
        silence_seconds=silence_seconds,
    )
    link.start()
    try:
        yield link
    finally:
        link.stop()
        link.join(5.0)


def governed(link: Link) -> bool:
    """Tell whether a link governs."""
    return link.view.state is LinkState.GOVERNING


def test_link_to_socket_with_odd_characters_reaches_it(tmp_path: Path, stack: ExitStack) -> None:
    """A path is no URI: what would mean something in one is percent-encoded."""
    (tmp_path / "100%25 of me").mkdir()
    fake = stack.enter_context(running(FakeService(tmp_path / "100%25 of me" / "speech#1?.sock", MODULES)))
    link = stack.enter_context(linked(fake.socket))

    assert wait_until(lambda: governed(link))


def test_link_to_service_shows_its_welcome(service: FakeService, stack: ExitStack) -> None:
    """A service that lets us in is shown with epoch, device, modules and its own name."""
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    report = link.view.report
    assert report is not None

    assert ("speech", 1, "host", ["voice", "detector"], []) == (
        link.view.service,
        link.view.epoch,
        link.view.device.device,
        [status.module for status in report.modules],
        service.violations,
    )


def test_link_with_new_directive_sends_it_and_shows_the_report(service: FakeService, stack: ExitStack) -> None:
    """A posted wish reaches the service at once, and what it did comes back as a report."""
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    link.post(replace(FIRST, wish=EVICT_VOICE, reason="because"))
    assert wait_until(lambda: link.view.report is not None and link.view.report.modules[0].tier is Tier.DISK)

    assert (["because"], 1, []) == (
        [directive.reason for directive in service.accepted],
        link.view.directive_version,
        service.violations,
    )


def test_link_with_posted_directive_renews_it(service: FakeService, stack: ExitStack) -> None:
    """While the loop shows that it lives, a directive is renewed under the same version."""
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))

    def renewed() -> bool:
        link.post(FIRST)
        reign = service._reign
        return reign is not None and reign.renewals >= 3

    assert wait_until(renewed)

    assert (1, []) == (len(service.accepted), service.violations)


def test_link_of_a_loop_that_hangs_lets_the_directive_expire(service: FakeService, stack: ExitStack) -> None:
    """A directive that is not posted any more is renewed no longer than it lives, and then expires."""
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    link.post(replace(FIRST, valid_for_seconds=1.0))
    assert wait_until(service.is_in_force)

    assert wait_until(lambda: not service.is_in_force())


def test_link_with_withdrawn_directive_renews_it_no_more(service: FakeService, stack: ExitStack) -> None:
    """Nothing to post means nothing to renew."""
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    link.post(replace(FIRST, renewal_seconds=0.05))
    assert wait_until(service.is_in_force)
    link.post(None)
    reign = service._reign
    assert reign is not None
    wait_until(lambda: False, 0.1)
    renewals = reign.renewals
    wait_until(lambda: False, 0.3)

    assert renewals == reign.renewals


def test_link_with_refused_directive_shows_the_refusal_and_does_not_repeat(
    service: FakeService, stack: ExitStack
) -> None:
    """A nack is shown with its reason, and the version is not sent again."""
    service.refuse_with = "no such thing"
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    for _ in range(5):
        link.post(replace(FIRST, renewal_seconds=0.02))
        wait_until(lambda: False, 0.05)
    assert link.view.refusal is not None
    service.refuse_with = ""
    link.post(replace(FIRST, version=2))
    assert service.wait_for(lambda: len(service.accepted) == 1)

    assert (1, "no such thing", [2]) == (
        link.view.refusal.version,
        link.view.refusal.reason,
        [directive.version for directive in service.accepted],
    )


def test_link_to_service_that_dies_and_returns_governs_again(service: FakeService, stack: ExitStack) -> None:
    """A broken stream is begun anew by itself, with the same holder and another instance of the service."""
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    service.stop()
    assert wait_until(lambda: not governed(link))
    service.start()
    assert wait_until(lambda: governed(link))

    assert (["holder", "holder"], "instance-2") == (
        [hello.holder_id for hello in service.hellos],
        link.view.instance_id,
    )


def test_link_to_nothing_says_why_and_keeps_trying(tmp_path: Path, stack: ExitStack) -> None:
    """A socket that nobody serves is shown with the error, and governed as soon as somebody does."""
    link = stack.enter_context(linked(tmp_path / "late.sock"))
    assert wait_until(lambda: link.view.reason.startswith("unavailable"))
    stack.enter_context(running(FakeService(tmp_path / "late.sock", MODULES)))

    assert wait_until(lambda: governed(link))


def test_link_to_governed_service_is_refused_and_passive(service: FakeService, stack: ExitStack) -> None:
    """Where another daemon governs, this one stays passive and says so."""
    first = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(first))
    second = stack.enter_context(linked(service.socket, replace(GREETING, holder_id="another")))
    assert wait_until(lambda: second.view.state is LinkState.REFUSED)

    assert ("another daemon governs it", True) == (second.view.reason, governed(first))


def test_link_that_takes_over_supersedes_the_other_for_good(service: FakeService, stack: ExitStack) -> None:
    """Taking over ends the other's reign, which then stays passive even when the service is free again."""
    first = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(first))
    with linked(service.socket, replace(GREETING, holder_id="another", takeover=True)) as second:
        assert wait_until(lambda: governed(second))
        assert wait_until(lambda: first.view.state is LinkState.SUPERSEDED)
    first.join(1.0)

    assert ("another daemon took over", ["holder", "another"]) == (
        first.view.reason,
        [hello.holder_id for hello in service.hellos],
    )


def test_link_that_took_over_comes_back_without_taking_over(service: FakeService, stack: ExitStack) -> None:
    """A daemon that was let in once comes back as the holder that it is, not as a conqueror."""
    link = stack.enter_context(linked(service.socket, replace(GREETING, takeover=True)))
    assert wait_until(lambda: governed(link))
    service.stop()
    service.start()
    assert service.wait_for(lambda: len(service.hellos) == 2)

    assert [True, False] == [hello.takeover for hello in service.hellos]


def test_link_to_service_of_another_protocol_says_so(service: FakeService, stack: ExitStack) -> None:
    """A service that speaks a newer protocol is not governed."""
    service.protocol_version = 2
    link = stack.enter_context(linked(service.socket))

    assert wait_until(lambda: "protocol 2" in link.view.reason)


def test_link_to_silent_service_gives_it_up(service: FakeService, stack: ExitStack) -> None:
    """A service that takes the stream but never speaks is dropped and tried again."""
    service.silent = True
    stack.enter_context(linked(service.socket, silence_seconds=0.3))

    assert service.wait_for(lambda: len(service.hellos) == 2)


def test_link_to_something_that_is_no_service_says_so_and_lives(tmp_path: Path, stack: ExitStack) -> None:
    """A socket that answers with garbage is an error like any other, and is tried again."""
    path = tmp_path / "garbage.sock"
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen()
    answered = []

    def answer() -> None:
        for _ in range(2):
            connection, _address = listener.accept()
            with connection:
                connection.sendall(b"220 not what you think\r\n" * 10)
            answered.append(connection)

    server = threading.Thread(target=answer)
    server.start()
    link = stack.enter_context(linked(path))
    server.join(15.0)

    assert wait_until(lambda: link.view.reason.startswith("unavailable"))
    assert (2, LinkState.CONNECTING) == (len(answered), link.view.state)


def test_link_that_fails_within_shows_it_and_lives(
    service: FakeService, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the daemon's own does not leave a service shown as governed that is not."""

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("memory_daemon.report_reading.report_of", fail)
    with capture_logs() as logs:
        link = stack.enter_context(linked(service.socket))
        assert wait_until(lambda: "its log says why" in link.view.reason)
        link.stop()
        link.join(5.0)

    assert "link_failed" in {event["event"] for event in logs}
