"""Lets a graph be captured or memory be mapped, never both at once.

What mapping does to a capture under way is not documented, and waiting for an event while another thread captures can
end that capture. So whoever captures and whoever moves modules take turns. A capture leases what it needs before it
comes here: a move that waits here may be what another lease waits for. Captures use the error mode `thread_local`, so
that leases which end meanwhile may wait for their work.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CaptureGate:
    """One of these for each device. Not reentrant: neither side may begin what the other does."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._inside: tuple[int, str] | None = None

    def __repr__(self) -> str:
        inside = self._inside
        return f"<CaptureGate {'open' if inside is None else inside[1]}>"

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Capture a graph inside; a move that is under way ends first."""
        with self._turn_for("capturing"):
            yield

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Call the driver inside; a capture that is under way ends first."""
        with self._turn_for("moving"):
            yield

    @contextmanager
    def _turn_for(self, what: str) -> Iterator[None]:
        here, inside = threading.get_ident(), self._inside
        assert inside is None or inside[0] != here, "this thread is inside already"
        with self._turn:
            self._inside = (here, what)
            try:
                yield
            finally:
                self._inside = None
