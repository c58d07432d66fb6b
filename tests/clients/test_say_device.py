"""The sound device: played and waited for, or a clear way out where there is none."""

import importlib
import sys
from types import ModuleType

import pytest

from greenroom_client.command.device import DeviceOutput, load_sound_library
from greenroom_client.command.problems import OutputError
from greenroom_client.events import AudioChunk
from tests.fakes import fake_sound_device


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Put the fake in the place of the real package."""
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sound_device)
    monkeypatch.setattr(fake_sound_device, "streams", [])
    monkeypatch.setattr(fake_sound_device, "devices", ["speakers"])
    return fake_sound_device


def chunk(samples: int) -> AudioChunk:
    """Return 16-bit audio."""
    return AudioChunk(
        utterance_id="u", sequence=0, sample_offset=0, sample_count=samples, data=bytes(2 * samples), last=False
    )


def test_audio_is_played_to_its_end(library: ModuleType) -> None:
    """Leaving the block in good order waits for the last sample."""
    with DeviceOutput(load_sound_library(), sample_rate_hertz=24_000) as output:
        output.write(chunk(1_000))
        output.write(chunk(2_000))

    assert ("stopped, closed", 6_000) == (library.streams[0].state, len(library.streams[0].played))
    assert 6_000 == output.written_bytes


def test_listener_has_heard_less_than_was_written(library: ModuleType) -> None:
    """What the device still holds was not heard."""
    with DeviceOutput(library, sample_rate_hertz=24_000) as output:
        output.write(chunk(2_000))
        early = output.heard_samples
        output.write(chunk(4_000))
        late = output.heard_samples

    assert (0, 3_600) == (early, late)


def test_error_stops_the_sound_at_once(library: ModuleType) -> None:
    """An interruption does not play on."""
    with pytest.raises(LookupError), DeviceOutput(library, sample_rate_hertz=24_000):
        raise LookupError

    assert "aborted, closed" == library.streams[0].state


def test_rate_that_the_device_refuses_is_told_with_a_way_out(library: ModuleType) -> None:
    """The message names the rate, the hint another one."""
    with pytest.raises(OutputError, match="refuses 8000 Hz") as caught, DeviceOutput(library, sample_rate_hertz=8_000):
        pass

    assert "--rate 48000" in caught.value.hint


def test_device_that_is_unplugged_is_told(library: ModuleType) -> None:
    """A device that goes away while it plays is an error of the output."""
    with DeviceOutput(library, sample_rate_hertz=24_000) as output:
        library.devices.clear()
        with pytest.raises(OutputError, match="the sound device failed"):
            output.write(chunk(10))


def test_machine_without_a_device_is_told(library: ModuleType) -> None:
    """PortAudio without any output is no crash."""
    library.devices.clear()

    with pytest.raises(OutputError, match="no sound device") as caught:
        load_sound_library()
    assert "--output speech.wav" in caught.value.hint


@pytest.mark.parametrize(
    ("failure", "message", "hint"),
    [
        (OSError("PortAudio library not found"), "PortAudio library not found", "apt install libportaudio2"),
        (ModuleNotFoundError("No module named 'sounddevice'"), "package sounddevice is missing", "pip install"),
    ],
)
def test_missing_library_is_told_with_what_to_install(
    failure: Exception, message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PortAudio, or without the Python package, the message says what to install or to do instead."""
    real = importlib.import_module

    def refuse(name: str, package: str | None = None) -> ModuleType:
        if name == "sounddevice":
            raise failure
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(OutputError, match=message) as caught:
        load_sound_library()
    assert hint in caught.value.hint
    assert "--output speech.wav" in caught.value.hint
