"""A voice that hums: 10 ms of a sine tone a byte of text, coded as the session wants it."""

import io
import math
import struct
from collections.abc import Sequence

import numpy as np
import soundfile

from greenroom.tts.v1 import tts_pb2

TONE_HERTZ = 440.0
AMPLITUDE = 0.25
SECONDS_A_BYTE = 0.01
CHUNK_SECONDS = 0.04
EMPTY_SECONDS = 0.1


def samples_for(text_bytes: int, rate_hertz: int) -> int:
    """Return how many samples so much text is."""
    return round(text_bytes * SECONDS_A_BYTE * rate_hertz)


def tone(start: int, count: int, rate_hertz: int) -> list[float]:
    """Return samples [start, start + count) of the tone, in [-1, 1]."""
    turn = 2 * math.pi * TONE_HERTZ / rate_hertz
    return [AMPLITUDE * math.sin(turn * sample) for sample in range(start, start + count)]


def is_headerless(encoding: int) -> bool:
    """Return whether each chunk can be coded on its own."""
    return encoding not in {tts_pb2.AUDIO_ENCODING_OGG_OPUS, tts_pb2.AUDIO_ENCODING_FLAC, tts_pb2.AUDIO_ENCODING_WAV}


def coded(samples: Sequence[float], encoding: int, rate_hertz: int) -> bytes:
    """Return samples in a coding of the wire."""
    match encoding:
        case tts_pb2.AUDIO_ENCODING_PCM_S16LE:
            return struct.pack(f"<{len(samples)}h", *(round(sample * 32767) for sample in samples))
        case tts_pb2.AUDIO_ENCODING_PCM_F32LE:
            return struct.pack(f"<{len(samples)}f", *samples)
        case tts_pb2.AUDIO_ENCODING_MULAW:
            return _container(samples, rate_hertz, "RAW", "ULAW")
        case tts_pb2.AUDIO_ENCODING_ALAW:
            return _container(samples, rate_hertz, "RAW", "ALAW")
        case tts_pb2.AUDIO_ENCODING_OGG_OPUS:
            return _container(samples, rate_hertz, "OGG", "OPUS")
        case tts_pb2.AUDIO_ENCODING_WAV:
            return _container(samples, rate_hertz, "WAV", "PCM_16")
        case tts_pb2.AUDIO_ENCODING_FLAC:
            return _container(samples, rate_hertz, "FLAC", "PCM_16")
        case _:
            raise AssertionError(f"no coding {encoding}")


def _container(samples: Sequence[float], rate_hertz: int, kind: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.array(samples, np.float32), rate_hertz, format=kind, subtype=subtype)
    return file.getvalue()
