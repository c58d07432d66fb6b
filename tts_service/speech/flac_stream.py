"""FLAC (RFC 9639) whose length is not known in advance: sent block by block, at most one block in memory.

FFmpeg's encoder gives the stream's description and whole frames, which is all that FLAC's own framing needs.
soundfile's writer is not used because it goes back to the start of the file when it closes. The header says that the
length is unknown; FFmpeg and players read that, soundfile does not, so a client that saves a file fills it in.
"""

import numpy as np
from numpy.typing import NDArray

from tts_service.speech.ffmpeg import av
from tts_service.speech.pcm_samples import s16_samples
from tts_service.types import EncodedPiece, Waveform

FLAC_WITHHOLDS_SECONDS = 0.105
"""At most one block: FFmpeg takes the longest of its sizes (576 to 4,608 samples) up to 105 ms."""

_MARKER = b"fLaC"
_ONLY_METADATA_BLOCK = b"\x80"


class FlacStream:
    """One FLAC stream of 16-bit samples."""

    def __init__(self, sample_rate_hertz: int) -> None:
        self._rate_hertz = sample_rate_hertz
        self._codec = _open_codec(sample_rate_hertz)
        self._pending: NDArray[np.int16] = np.zeros(0, np.int16)
        self._samples_out = 0
        self._header = _header(self._codec)

    def __repr__(self) -> str:
        return f"<FlacStream {self._rate_hertz} Hz | {self._samples_out} samples out, {len(self._pending)} pending>"

    def write(self, samples: Waveform) -> EncodedPiece:
        """Take samples and return the blocks that are now complete."""
        self._pending = np.concatenate((self._pending, s16_samples(samples)))
        size = self._codec.frame_size
        blocks, self._pending = np.split(self._pending, [len(self._pending) // size * size])
        data = b"".join(self._coded(blocks[at : at + size]) for at in range(0, len(blocks), size))
        return EncodedPiece(data=self._take_header() + data if data else b"", sample_count=len(blocks))

    def finish(self) -> EncodedPiece:
        """Return the last block, which may be shorter."""
        last = self._pending
        data = self._coded(last) if len(last) else b""
        data += b"".join(bytes(packet) for packet in self._codec.encode(None))  # The encoder keeps a shorter block.
        return EncodedPiece(data=self._take_header() + data, sample_count=len(last))

    def _coded(self, block: NDArray[np.int16]) -> bytes:
        frame = av.AudioFrame.from_ndarray(block[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = self._rate_hertz
        frame.pts = self._samples_out
        self._samples_out += len(block)
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header


def _open_codec(sample_rate_hertz: int) -> av.AudioCodecContext:
    codec = av.AudioCodecContext.create("flac", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate = sample_rate_hertz
    codec.layout = "mono"
    codec.format = "s16"
    codec.open()
    return codec


def _header(codec: av.AudioCodecContext) -> bytes:
    """Return the marker and the stream's description, in which the length is still 0: unknown."""
    description = codec.extradata
    assert description is not None
    return _MARKER + _ONLY_METADATA_BLOCK + len(description).to_bytes(3, "big") + description
