"""Recordings as people send them: files of every kind, good and bad."""

import io

import numpy as np
import soundfile

from tests.fakes.waves import speechlike
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, Waveform

CODECS: dict[str, tuple[str, str | None]] = {
    "wav": ("WAV", None),
    "wav24": ("WAV", "PCM_24"),
    "float": ("WAV", "FLOAT"),
    "flac": ("FLAC", None),
    "opus": ("OGG", "OPUS"),
    "vorbis": ("OGG", "VORBIS"),
    "mp3": ("MP3", None),
}


def recording(seconds: float, *, seed: int = 3) -> Waveform:
    """Return something like speech with a noise of its own, at 24 kHz, so that networks have much to tell apart."""
    length = round(seconds * MODEL_SAMPLE_RATE_HERTZ)
    noise = np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    return speechlike(length, seed=seed, peak=0.4) + 0.05 * noise


def sound_file(samples: Waveform, codec: str = "wav", rate_hertz: int = MODEL_SAMPLE_RATE_HERTZ) -> bytes:
    """Return samples, (frames,) or (frames, channels), as a file."""
    file_format, subtype = CODECS[codec]
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hertz, format=file_format, subtype=subtype)
    return file.getvalue()
