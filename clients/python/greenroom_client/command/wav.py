"""WAV headers (RIFF WAVE, PCM, one channel, 16 bits). Pure."""

import struct

HEADER_BYTES = 44
UNKNOWN_LENGTH = 0xFFFFFFFF
"""For streams; players then read to the end. Also the most that a WAV file can say."""
_PCM = 1
_SAMPLE_BYTES = 2


def wav_header(sample_rate_hertz: int, data_bytes: int | None) -> bytes:
    """Return the 44 bytes before the samples; `data_bytes` of None is a stream without a known end."""
    data_length = UNKNOWN_LENGTH if data_bytes is None else min(data_bytes, UNKNOWN_LENGTH)
    riff_length = min(data_length + HEADER_BYTES - 8, UNKNOWN_LENGTH)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff_length,
        b"WAVE",
        b"fmt ",
        16,
        _PCM,
        1,
        sample_rate_hertz,
        sample_rate_hertz * _SAMPLE_BYTES,
        _SAMPLE_BYTES,
        _SAMPLE_BYTES * 8,
        b"data",
        data_length,
    )
