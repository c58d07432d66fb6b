"""Services that come and go, and the names that they are known by."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from memory_daemon.link import retry_seconds
from memory_daemon.link_view import LinkState, LinkView, home_device
from memory_daemon.links import SERVICES_MAXIMUM, Links, distinct
from memory_daemon.types import HOST, Device, DeviceId, Directive, ServiceName, Tier, Wish

DIRECTIVE = Directive(version=1, wish=Wish(), valid_for_seconds=10, renewal_seconds=3)


@dataclass
class FakeLink:
    """A link that goes nowhere and remembers what it was told."""

    view: LinkView
    told: list[str] = field(default_factory=list)
    posted: list[Directive | None] = field(default_factory=list)

    def start(self) -> None:
        """Begin."""
        self.told.append("start")

    def post(self, directive: Directive | None) -> None:
        """Take a directive."""
        self.posted.append(directive)

    def trim(self, number: int) -> None:
        """Take a request for what an allocator keeps."""
        self.told.append(f"trim {number}")

    def stop(self) -> None:
        """End."""
        self.told.append("stop")

    def join(self, timeout_seconds: float) -> None:
        """Wait for the end."""
        assert timeout_seconds > 0
        self.told.append("join")


class Room:
    """A folder of real sockets, and the links that are made for them."""

    def __init__(self, folder: Path, configured: tuple[Path, ...] = ()) -> None:
        self.folder = folder
        self.made: dict[str, FakeLink] = {}
        self.links = Links(folder=folder, sockets=configured, make_link=self._make)
        self._open = ExitStack()

    def _make(self, path: Path) -> FakeLink:
        link = FakeLink(view=LinkView(socket=path, service=ServiceName(path.stem)))
        self.made[path.stem] = link
        return link

    def serve(self, *names: str) -> None:
        """Put a socket into the folder."""
        for name in names:
            bound = self._open.enter_context(socket.socket(socket.AF_UNIX))
            bound.bind(str(self.folder / f"{name}.sock"))

    def names(self) -> list[str]:
        """Return the services that are known."""
        return [view.service for view in self.links.views()]

    def close(self) -> None:
        """Close the sockets."""
        self._open.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Open a room."""
    opened = Room(tmp_path)
    yield opened
    opened.close()


def test_scan_links_sockets_and_nothing_else(room: Room) -> None:
    """A file, a folder and a lock beside a socket are no services; another scan changes nothing."""
    room.serve("b", "a")
    (room.folder / "file.sock").write_text("")
    (room.folder / "folder.sock").mkdir()
    (room.folder / "a.sock.lock").write_text("")
    room.links.scan()
    room.links.scan()

    assert (["a", "b"], [["start"], ["start"]]) == (room.names(), [room.made[name].told for name in "ab"])


def test_scan_forgets_a_socket_that_is_gone(room: Room) -> None:
    """A service without a socket is ended and not shown any more."""
    room.serve("a", "b")
    room.links.scan()
    (room.folder / "a.sock").unlink()
    room.links.scan()

    assert (["b"], ["start", "stop"]) == (room.names(), room.made["a"].told)


def test_scan_keeps_a_service_where_it_was_superseded(room: Room) -> None:
    """Whatever becomes of the socket, a superseded daemon stays passive there."""
    room.serve("a")
    room.links.scan()
    room.made["a"].view = replace(room.made["a"].view, state=LinkState.SUPERSEDED)
    (room.folder / "a.sock").unlink()
    room.links.scan()
    room.serve("a")
    room.links.scan()

    assert (["a"], ["start"]) == (room.names(), room.made["a"].told)


def test_scan_keeps_a_service_that_is_governed_until_its_stream_ends(room: Room) -> None:
    """Whoever deletes a socket cuts nobody off; when the stream ends as well, the service is gone."""
    room.serve("speech")
    room.links.scan()
    link = room.made["speech"]
    link.view = replace(link.view, state=LinkState.GOVERNING)
    (room.folder / "speech.sock").unlink()
    room.links.scan()
    governed = room.names()
    link.view = replace(link.view, state=LinkState.CONNECTING)
    room.links.scan()

    assert (["speech"], [], ["start", "stop"]) == (governed, room.names(), link.told)


def test_scan_without_a_folder_finds_configured_services(tmp_path: Path) -> None:
    """The folder may come later; a configured socket is tried whether it is there or not."""
    room = Room(tmp_path / "later", (tmp_path / "elsewhere.sock",))
    room.links.scan()

    assert ["elsewhere"] == room.names()


def test_scan_is_bounded(tmp_path: Path) -> None:
    """More sockets than a machine has services are not all dialled, and that is said once."""
    room = Room(tmp_path, tuple(tmp_path / f"{number}.sock" for number in range(SERVICES_MAXIMUM + 6)))
    with capture_logs() as logs:
        room.links.scan()
        room.links.scan()

    assert (SERVICES_MAXIMUM, ["too_many_services"]) == (len(room.names()), [event["event"] for event in logs])


def test_posted_directive_goes_to_its_service(room: Room) -> None:
    """A service is addressed by the name in the views."""
    room.serve("a", "b")
    room.links.scan()
    room.links.views()
    room.links.post(ServiceName("b"), DIRECTIVE)

    assert ([], [DIRECTIVE]) == (room.made["a"].posted, room.made["b"].posted)


def test_views_of_services_that_said_nothing_new_are_the_ones_before(room: Room) -> None:
    """Who looks at them sees at once that nothing has changed, and so that something has."""
    room.serve("a", "b")
    room.links.scan()
    first, second = room.links.views(), room.links.views()
    room.made["b"].view = replace(room.made["b"].view, reason="refused")
    third = room.links.views()

    assert (True, [True, False]) == (second is first, [now is before for now, before in zip(third, first, strict=True)])


def test_close_ends_all_before_it_waits_for_any(room: Room) -> None:
    """No service delays the end of another."""
    room.serve("a", "b")
    room.links.scan()
    room.links.close(1.0)

    assert [["start", "stop", "join"]] * 2 == [link.told for link in room.made.values()]


def test_services_of_one_name_are_told_apart() -> None:
    """The second service of a name is known by its socket too."""
    views = [LinkView(socket=Path(path), service=ServiceName("default")) for path in ("a.sock", "b.sock")]
    actual = [view.service for view in distinct(views)]

    assert ["default", "default@b.sock"] == actual


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        pytest.param((), Device(device=HOST, tier=Tier.HOST), id="none is named"),
        pytest.param(
            (Device(device=HOST, tier=Tier.HOST), Device(device=DeviceId("GPU-0"), tier=Tier.DEVICE)),
            Device(device=DeviceId("GPU-0"), tier=Tier.DEVICE),
            id="the GPU before the host",
        ),
    ],
)
def test_home_device_of_a_service(devices: tuple[Device, ...], expected: Device) -> None:
    """A service computes in the memory that is closest to the computation."""
    assert expected == home_device(devices)


@pytest.mark.parametrize(
    ("state", "failures", "jitter", "expected"),
    [
        pytest.param(LinkState.CONNECTING, 0, 1.0, 0.5, id="the first is soon"),
        pytest.param(LinkState.CONNECTING, 0, 0.0, 0.25, id="jitter halves it at most"),
        pytest.param(LinkState.CONNECTING, 2, 1.0, 2.0, id="it doubles"),
        pytest.param(LinkState.CONNECTING, 500, 1.0, 10.0, id="up to a bound"),
        pytest.param(LinkState.REFUSED, 0, 1.0, 10.0, id="where another governs it is slow"),
    ],
)
def test_retry_seconds(state: LinkState, failures: int, jitter: float, expected: float) -> None:
    """Retries back off and spread."""
    actual = retry_seconds(state, failures, jitter)

    assert expected == actual
