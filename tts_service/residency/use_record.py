"""Who uses a range of device memory now, and what its last users left for the device to do.

A use begins and ends on the host; the device may be behind. So the end of a use leaves an event, and whoever takes the
memory away waits for those, and whoever uses it waits for its copies: on the stream, not on the host.
"""

import threading

from tts_service.residency.device_driver import DeviceDriverError, DeviceEvent


class ArenaInUseError(Exception):
    """Memory was to be taken away while somebody used it."""


class UseRecord:
    """The uses of one range; any thread may begin and end one. `name` is for errors."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._users = 0
        self._arrived: DeviceEvent | None = None
        self._left: dict[int, DeviceEvent] = {}

    def __repr__(self) -> str:
        return f"<UseRecord of {self._name} | {self._users} users | {len(self._left)} streams>"

    def begin(self, arrived: DeviceEvent) -> None:
        """Note when what was asked for last will be there."""
        with self._lock:
            self._arrived = arrived

    def enter(self) -> None:
        """Begin a use: what this thread's current stream does from now on happens after the copies."""
        with self._lock:
            arrived = self._arrived
            self._users += 1
        if arrived is not None:
            try:
                self._follow(arrived)
            except DeviceDriverError:
                self.leave(None)
                raise

    def _follow(self, arrived: DeviceEvent) -> None:
        """Let this thread's current stream wait for the copies, unless they are done: then nobody has to any more."""
        if not arrived.is_past:
            arrived.hold_stream()
            return
        with self._lock:
            self._arrived = None if self._arrived is arrived else self._arrived

    def leave(self, used: DeviceEvent | None) -> None:
        """End a use, whose work is done when the event has come; None if the device cannot say it any more."""
        with self._lock:
            assert self._users, f"nobody uses {self._name}"
            self._users -= 1
            if used is not None:
                self._left[used.stream_key] = used

    def check_unused(self) -> None:
        """Raise ArenaInUseError while somebody uses it."""
        if self._users:
            raise ArenaInUseError(f"{self._name} has {self._users} users")

    def arrive(self) -> None:
        """Wait for what was asked for last: no use has to wait for it any more. Raises DeviceDriverError."""
        with self._lock:
            arrived = self._arrived
        if arrived is not None:
            arrived.wait()
        with self._lock:
            self._arrived = None if self._arrived is arrived else self._arrived

    def wait(self) -> None:
        """Wait until the device has done all that was asked of it here, copies included, and forget what is done.

        Raises DeviceDriverError, and forgets nothing then that may not be done.
        """
        self.arrive()
        with self._lock:
            left = tuple(self._left.items())
        for _, event in left:
            event.wait()
        with self._lock:
            self._left = {key: event for key, event in self._left.items() if (key, event) not in left}

    def clear(self) -> None:
        """Forget what has been waited for."""
        with self._lock:
            self._left.clear()
            self._arrived = None
