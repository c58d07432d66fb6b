"""The sound device, through PortAudio. `sounddevice` is imported only here and only when it is needed."""

import importlib
from types import TracebackType
from typing import Any, Self

from greenroom_client.command.problems import OutputError
from greenroom_client.events import AudioChunk

WAYS_OUT = "Write a file with --output speech.wav, or pipe it: tts-say -o - ... | aplay"
NO_PORTAUDIO = f"Install PortAudio (Debian, Ubuntu: apt install libportaudio2). {WAYS_OUT}"
NO_PACKAGE = f"Install it with: pip install 'greenroom[client]'. {WAYS_OUT}"


def load_sound_library() -> Any:
    """Return the module `sounddevice` with a usable output device. Raises OutputError that names the way out."""
    try:
        library = importlib.import_module("sounddevice")
    except ModuleNotFoundError as error:
        raise OutputError("no sound: the Python package sounddevice is missing", hint=NO_PACKAGE) from error
    except OSError as error:
        raise OutputError(f"no sound: {error}", hint=NO_PORTAUDIO) from error
    try:
        library.query_devices(kind="output")
    except (library.PortAudioError, ValueError) as error:
        raise OutputError(f"no sound device: {error}", hint=WAYS_OUT) from error
    return library


class DeviceOutput:
    """Plays 16-bit audio. `write` waits until the device has room, which paces the whole command."""

    def __init__(self, library: Any, *, sample_rate_hertz: int) -> None:
        self._library = library
        self._sample_rate_hertz = sample_rate_hertz
        self._stream: Any = None
        self._samples = 0
        self._bytes = 0

    @property
    def written_bytes(self) -> int:
        """Bytes handed to the device."""
        return self._bytes

    @property
    def heard_samples(self) -> int | None:
        """What the device was given, less what it still holds."""
        held_samples = round(float(self._stream.latency) * self._sample_rate_hertz)
        return max(0, self._samples - held_samples)

    def write(self, chunk: AudioChunk) -> None:
        """Play the next audio. Raises OutputError."""
        try:
            self._stream.write(chunk.data)
        except self._library.PortAudioError as error:
            raise OutputError(f"the sound device failed: {error}", hint=WAYS_OUT) from error
        self._samples += chunk.sample_count
        self._bytes += len(chunk.data)

    def __enter__(self) -> Self:
        try:
            self._stream = self._library.RawOutputStream(samplerate=self._sample_rate_hertz, channels=1, dtype="int16")
            self._stream.start()
        except (self._library.PortAudioError, ValueError) as error:
            message = f"the sound device refuses {self._sample_rate_hertz} Hz: {error}"
            raise OutputError(message, hint=f"Try --rate 48000. {WAYS_OUT}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._stream.stop()  # Waits until everything was played.
            else:
                self._stream.abort()
        finally:
            self._stream.close()

    def __repr__(self) -> str:
        return f"<DeviceOutput {self._samples} samples>"
