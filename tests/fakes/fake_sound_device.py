"""The part of the package `sounddevice` that is used, with its rules and without any sound.

A stream must be started before it is written to, takes whole frames only, and is closed once. What was played, and how
each stream ended, stands in `streams`, and in the file that FAKE_SOUND_LOG names, if it names one.
"""

import os
from pathlib import Path
from typing import Any

LATENCY_SECONDS = 0.1
RATES = {24_000, 48_000}

streams: list["RawOutputStream"] = []
devices: list[str] = ["speakers"]


class PortAudioError(Exception):
    """What the real package raises."""


def query_devices(*, kind: str) -> dict[str, Any]:
    """Describe the default device of a kind, or raise as the real one does without any."""
    assert kind == "output"
    if not devices:
        raise PortAudioError("Error querying device -1")
    return {"name": devices[0]}


class RawOutputStream:
    """An output stream for bytes."""

    def __init__(self, *, samplerate: int, channels: int, dtype: str) -> None:
        if samplerate not in RATES:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        assert (channels, dtype) == (1, "int16")
        self.played = b""
        self.state = "new"
        self.latency = LATENCY_SECONDS
        streams.append(self)

    def start(self) -> None:
        """Begin to play."""
        assert self.state == "new"
        self.state = "started"

    def write(self, data: bytes) -> bool:
        """Play whole frames; return whether there was an underflow."""
        if self.state != "started":
            raise PortAudioError("Stream is stopped [PaErrorCode -9983]")
        assert len(data) % 2 == 0, "half a frame"
        if not devices:
            raise PortAudioError("Device unavailable [PaErrorCode -9985]")
        self.played += data
        return False

    def stop(self) -> None:
        """Play everything, then end."""
        self._end("stopped")

    def abort(self) -> None:
        """End at once."""
        self._end("aborted")

    def _end(self, state: str) -> None:
        assert self.state == "started"
        self.state = state

    def close(self) -> None:
        """Let go of the device."""
        assert self.state != "closed"
        log = os.environ.get("FAKE_SOUND_LOG")
        if log is not None:
            Path(log).write_text(f"{self.state} {len(self.played)}")
        self.state = f"{self.state}, closed"

    def __repr__(self) -> str:
        return f"<RawOutputStream {self.state} {len(self.played)} bytes>"
