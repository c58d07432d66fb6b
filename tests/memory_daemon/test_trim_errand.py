"""A link asks its service for what the allocator keeps, over a real socket, and waits for nobody."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from memory_daemon.link import Greeting, Link
from memory_daemon.link_view import LinkState
from memory_daemon.usage import TrimAnswer
from tests.fakes.fake_service import FakeService

GREETING = Greeting(holder_id="holder", display_name="test", takeover=False)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """End everything that a test began."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    """Run a service on a GPU."""
    fake = FakeService(tmp_path / "speech.sock", {"t3": 1000}, gpu="GPU-0")
    fake.start()
    yield fake
    fake.stop()


@contextmanager
def linked(socket: Path) -> Iterator[Link]:
    """Run a link."""
    link = Link(
        socket=socket,
        greeting=GREETING,
        clock=time.monotonic,
        jitter=lambda: 0.0,
        on_change=lambda: None,
        retry=lambda _state, _failures, _jitter: 0.05,
    )
    link.start()
    try:
        yield link
    finally:
        link.stop()
        link.join(5.0)


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until something holds; False if it does not come true in time."""
    until_seconds = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until_seconds:
            return False
        time.sleep(0.005)
    return True


def governed(link: Link) -> bool:
    """Tell whether a link governs."""
    return link.view.state is LinkState.GOVERNING


def test_link_asked_to_trim_shows_the_answer_under_its_number(service: FakeService, stack: ExitStack) -> None:
    """What the allocator gave back, and what it could not, comes back beside the reports."""
    service.kept_bytes, service.stuck_bytes = 900, 200
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    link.trim(3)
    assert wait_until(lambda: link.view.trimmed is not None)

    assert (TrimAnswer(number=3, released_bytes=700, left_bytes=200), ["test"], []) == (
        link.view.trimmed,
        service.trims,
        service.violations,
    )


def test_link_whose_trim_fails_says_so_and_governs_on(service: FakeService, stack: ExitStack) -> None:
    """A service that cannot trim now has given nothing back, and nobody knows what is left."""
    service.trims_fail = True
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    link.trim(1)
    assert wait_until(lambda: link.view.trimmed is not None)

    assert (TrimAnswer(number=1, obstacle="resource_exhausted"), True) == (link.view.trimmed, governed(link))


def test_link_to_service_that_restarts_forgets_its_answer(service: FakeService, stack: ExitStack) -> None:
    """Numbers begin anew with an instance, so an old answer must not stand for a new request."""
    link = stack.enter_context(linked(service.socket))
    assert wait_until(lambda: governed(link))
    link.trim(1)
    assert wait_until(lambda: link.view.trimmed is not None)
    service.stop()
    assert wait_until(lambda: not governed(link))
    service.start()
    assert wait_until(lambda: governed(link))

    assert link.view.trimmed is None


def test_link_without_a_service_asks_nobody(tmp_path: Path, stack: ExitStack) -> None:
    """Who is not there keeps nothing."""
    link = stack.enter_context(linked(tmp_path / "nobody.sock"))
    link.trim(1)

    assert link.view.trimmed is None
