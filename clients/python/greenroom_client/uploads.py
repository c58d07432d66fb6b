"""Audio on its way to the service: which coding it has, and its bytes in pieces."""

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path

from greenroom_client.config import Encoding

AudioSource = str | PathLike[str] | bytes | Iterable[bytes] | AsyncIterable[bytes]
"""A file's path, a whole file's bytes, or its bytes as they come."""

PIECE_BYTES = 64 * 1024

SUFFIXES: Mapping[str, Encoding] = {
    ".wav": Encoding.WAV,
    ".flac": Encoding.FLAC,
    ".ogg": Encoding.OGG_OPUS,
    ".opus": Encoding.OGG_OPUS,
}
_SIGNATURES: Mapping[bytes, Encoding] = {
    b"RIFF": Encoding.WAV,
    b"fLaC": Encoding.FLAC,
    b"OggS": Encoding.OGG_OPUS,
}


def path_of(source: object) -> Path | None:
    """Return the path if the source is one."""
    return Path(fspath(source)) if isinstance(source, str | PathLike) else None


def coding_of(source: object) -> Encoding:
    """Return the coding of a path by its suffix, or of bytes by how they begin. Raises ValueError if it is unclear."""
    path = path_of(source)
    if path is not None:
        guess = SUFFIXES.get(path.suffix.lower())
    elif isinstance(source, bytes):
        guess = _SIGNATURES.get(source[:4])
    else:
        guess = None
    if guess is None:
        raise ValueError(f"say how {'the audio' if path is None else str(path)} is coded: pass encoding=")
    return guess


def is_repeatable(source: object) -> bool:
    """Return whether the source can be sent a second time."""
    return isinstance(source, str | PathLike | bytes)


def pieces_of_bytes(data: bytes) -> Iterator[bytes]:
    """Yield bytes in pieces that fit a message."""
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
