"""The services that there are: one link for each socket in the folder, and for each one that is configured.

Sockets come and go; the folder is looked at every tick. A service whose socket is gone is forgotten, but for two cases:
one that is governed goes on being governed until its stream ends, because a socket that was only deleted has cut nobody
off; and where this daemon was superseded it stays passive whatever becomes of the socket.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import is_
from pathlib import Path
from typing import Protocol

import structlog

from memory_daemon.link_view import LinkState, LinkView
from memory_daemon.socket_folder import SocketFolder
from memory_daemon.types import Directive, ServiceName

SERVICES_MAXIMUM = 64
OUTLIVES_SOCKET = {LinkState.GOVERNING, LinkState.SUPERSEDED}

_log = structlog.get_logger(__name__)


class OneLink(Protocol):
    """What is needed of a link; nothing in it waits but `join`."""

    @property
    def view(self) -> LinkView:
        """What is known of the service."""

    def start(self) -> None:
        """Begin to govern."""

    def post(self, directive: Directive | None) -> None:
        """Take the newest directive; None lets the last one expire."""

    def trim(self, number: int) -> None:
        """Ask the service once for what its allocator keeps."""

    def stop(self) -> None:
        """End it."""

    def join(self, timeout_seconds: float) -> None:
        """Wait for its thread to end."""


class Links:
    """All links, by socket."""

    def __init__(self, *, folder: Path, sockets: tuple[Path, ...], make_link: Callable[[Path], OneLink]) -> None:
        self._folder = SocketFolder(folder)
        self._sockets = sockets
        self._make_link = make_link
        self._links: dict[Path, OneLink] = {}
        self._by_service: dict[ServiceName, OneLink] = {}
        self._crowded = False
        self._here: Mapping[str, Path] = {}
        self._settled = False
        self._in_order: tuple[OneLink, ...] = ()
        self._seen: tuple[LinkView, ...] = ()
        self._views: tuple[LinkView, ...] = ()

    def __repr__(self) -> str:
        states = " ".join(f"{link.view.service}={link.view.state.value}" for link in self._links.values())
        return f"<Links {states or 'none'}>"

    def scan(self) -> None:
        """Link what is new, and forget what is gone."""
        here = self._folder.sockets()
        if here is self._here and self._settled:
            return
        found = list(dict.fromkeys((*self._sockets, *here.values())))
        self._here, self._settled = here, found == list(self._links)
        if self._settled:
            return
        self._forget(set(self._links) - set(found))
        for socket in found:
            if socket not in self._links and self._has_place(socket):
                self._links[socket] = self._make_link(socket)
                self._links[socket].start()
        self._in_order = tuple(self._links[socket] for socket in sorted(self._links))

    def views(self) -> tuple[LinkView, ...]:
        """Return what is known of every service, each under a name of its own, in the order of their sockets."""
        seen = tuple(link.view for link in self._in_order)
        if len(seen) != len(self._seen) or not all(map(is_, seen, self._seen)):
            self._seen, self._views = seen, distinct(seen)
            self._by_service = {view.service: link for view, link in zip(self._views, self._in_order, strict=True)}
        return self._views

    def post(self, service: ServiceName, directive: Directive | None) -> None:
        """Hand the newest directive to the link of a service, as it was named in the last views."""
        self._by_service[service].post(directive)

    def trim(self, service: ServiceName, number: int) -> None:
        """Ask a service, as it was named in the last views, once for what its allocator keeps."""
        self._by_service[service].trim(number)

    def close(self, timeout_seconds: float) -> None:
        """End all links; each is waited for that long at most."""
        for link in self._links.values():
            link.stop()
        for link in self._links.values():
            link.join(timeout_seconds)
        self._links.clear()
        self._in_order = ()

    def _forget(self, gone: set[Path]) -> None:
        for socket in gone:
            if self._links[socket].view.state not in OUTLIVES_SOCKET:
                link = self._links.pop(socket)
                link.stop()
                _log.info("service_forgotten", service=link.view.service, socket=str(socket))

    def _has_place(self, socket: Path) -> bool:
        has_place = len(self._links) < SERVICES_MAXIMUM
        if not has_place and not self._crowded:
            _log.error("too_many_services", socket=str(socket), maximum=SERVICES_MAXIMUM)
        self._crowded = not has_place
        return has_place


def distinct(views: Iterable[LinkView]) -> tuple[LinkView, ...]:
    """Return the views with names that differ: a name that is taken gets its socket's name behind it."""
    named: dict[ServiceName, LinkView] = {}
    for view in views:
        taken = view.service in named
        service = ServiceName(f"{view.service}@{view.socket}") if taken else view.service
        named[service] = replace(view, service=service) if taken else view
    return tuple(named.values())
