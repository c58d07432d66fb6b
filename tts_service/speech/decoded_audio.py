"""Decoded audio: what a client sends as bytes, as a waveform at the models' rate.

Forms without a declared length (samples without a header, streamed WAV and FLAC, Ogg) end where their bytes end, a torn
last sample dropped. Where a length is declared and bytes are missing, the upload broke, and the caller is told.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import soundfile
import soxr

from tts_service.errors import CallerError, Reason
from tts_service.speech.ffmpeg import av
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, AudioFormat, Encoding, Waveform

_RAW_SUBTYPES = {
    Encoding.PCM_S16LE: "PCM_16",
    Encoding.PCM_F32LE: "FLOAT",
    Encoding.MULAW: "ULAW",
    Encoding.ALAW: "ALAW",
}
_MARKERS = {Encoding.WAV: (b"RIFF", b"RF64"), Encoding.FLAC: (b"fLaC",), Encoding.OGG_OPUS: (b"OggS",)}
_NAMES = {Encoding.WAV: "WAV", Encoding.FLAC: "FLAC", Encoding.OGG_OPUS: "Ogg"}
_MP3_TAG = b"ID3"
_MP3_MARKERS = frozenset({b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2"})
"""How frames of MPEG 1, 2 and 2.5, layer III, begin, with and without a checksum."""

_RATE_RANGE_HERTZ = (8_000, 192_000)
_MAX_CHANNELS = 2
_BLOCK_FRAMES = 65_536

Blocks = Iterator[Waveform]

_RIFF_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8
_STREAMED_BYTES = 0x7FFF0000
"""Writers that cannot know a WAV file's length declare one near 2 or 4 GiB."""


def decode_audio(data: bytes, audio_format: AudioFormat, *, max_seconds: float) -> Waveform:
    """Return audio as mono float32 samples in [-1, 1] at 24 kHz, two channels averaged.

    Samples without a header have the format's rate, a file its own. Raises CallerError BAD_AUDIO if the bytes are
    empty, not of that form, broken, longer than `max_seconds`, or hold samples that are not numbers.
    """
    if not data:
        raise _bad_audio("there is no audio")
    with unreadable_is_bad_audio():
        rate_hertz, blocks = _open(data, audio_format)
        samples = _mono(blocks, int(max_seconds * rate_hertz))
    if samples is None:
        raise _bad_audio(f"the audio is longer than {max_seconds:g} s")
    if not len(samples):
        raise _bad_audio("there is not one whole sample")
    if rate_hertz != MODEL_SAMPLE_RATE_HERTZ:
        samples = soxr.resample(samples, rate_hertz, MODEL_SAMPLE_RATE_HERTZ)
    return np.clip(samples, -1.0, 1.0)


def open_recording(data: bytes) -> tuple[int, Blocks]:
    """Return a file's sample rate and its blocks, of shape (frames, channels); its first bytes say what it is.

    WAV, FLAC, Ogg (Opus or Vorbis) and MP3. Raises CallerError BAD_AUDIO; blocks are read as they are asked for, within
    `unreadable_is_bad_audio`.
    """
    for encoding, markers in _MARKERS.items():
        if data.startswith(markers):
            return _open(data, AudioFormat(encoding=encoding))
    if not data.startswith(_MP3_TAG) and data[:2] not in _MP3_MARKERS:
        raise _bad_audio("this is no audio that is read here: send WAV, FLAC, Ogg (Opus or Vorbis) or MP3")
    return _open_sound(data)


@contextmanager
def unreadable_is_bad_audio() -> Iterator[None]:
    """Turn what the libraries say about a damaged file into a CallerError BAD_AUDIO."""
    try:
        yield
    except (soundfile.LibsndfileError, av.FFmpegError) as error:
        cause = error.error_string if isinstance(error, soundfile.LibsndfileError) else error.strerror
        raise _bad_audio(f"the audio cannot be read: {cause}") from error


def _bad_audio(message: str) -> CallerError:
    return CallerError(Reason.BAD_AUDIO, message)


def _mono(blocks: Blocks, max_frames: int) -> Waveform | None:
    """Return the average of the channels, None if there are more frames than allowed.

    It goes block by block, so that a small file cannot unfold to more than the limit.
    """
    mono = [np.zeros(0, np.float32)]
    frames = 0
    for block in blocks:
        frames += len(block)
        if frames > max_frames:
            return None
        if not np.isfinite(block).all():
            raise _bad_audio("some samples are not numbers")
        mono.append(np.clip(block, -1.0, 1.0).mean(axis=1, dtype=np.float32))
    return np.concatenate(mono)


# --- the forms ------------------------------------------------------------------------------------------------------


def _open(data: bytes, audio_format: AudioFormat) -> tuple[int, Blocks]:
    """Return the sample rate and the blocks to come, each of shape (frames, channels)."""
    encoding = audio_format.encoding
    if subtype := _RAW_SUBTYPES.get(encoding):
        raw = {"format": "RAW", "subtype": subtype, "endian": "LITTLE", "channels": 1}
        sound = soundfile.SoundFile(io.BytesIO(data), samplerate=audio_format.sample_rate_hertz, **raw)
        return audio_format.sample_rate_hertz, _sound_blocks(sound)
    if not data.startswith(_MARKERS[encoding]):
        raise _bad_audio(f"this is not {_NAMES[encoding]} audio")
    if encoding is Encoding.FLAC:
        return _open_flac(data)
    if encoding is Encoding.WAV:
        _check_wav_length(data)
    return _open_sound(data)


def _open_sound(data: bytes) -> tuple[int, Blocks]:
    sound = soundfile.SoundFile(io.BytesIO(data))
    _check_shape(sound.samplerate, sound.channels)
    return sound.samplerate, _sound_blocks(sound)


def _check_shape(rate_hertz: int, channels: int) -> None:
    low, high = _RATE_RANGE_HERTZ
    if not low <= rate_hertz <= high:
        raise _bad_audio(f"the sample rate must be {low} to {high} Hz, was {rate_hertz}")
    if channels > _MAX_CHANNELS:
        raise _bad_audio(f"audio must have one or two channels, was {channels}")


def _sound_blocks(sound: soundfile.SoundFile) -> Blocks:
    with sound:
        while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
            yield block


def _check_wav_length(data: bytes) -> None:
    """Raise if the file declares more samples than there are."""
    at = _RIFF_HEADER_BYTES
    while at + _CHUNK_HEADER_BYTES <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += _CHUNK_HEADER_BYTES
        if name == b"data":
            if len(data) - at < size < _STREAMED_BYTES:
                raise _bad_audio(f"the WAV file is cut short: {size} bytes declared, {len(data) - at} there")
            return
        at += size + size % 2


def _open_flac(data: bytes) -> tuple[int, Blocks]:
    """Open FLAC with FFmpeg: soundfile cannot read a stream whose length is unknown, as ours is."""
    container = av.open(io.BytesIO(data), mode="r", format="flac")
    stream = container.streams.audio[0]
    _check_shape(stream.rate, stream.channels)
    return stream.rate, _flac_blocks(container, stream.duration or 0)


def _flac_blocks(container: av.container.InputContainer, declared_frames: int) -> Blocks:
    converter = av.AudioResampler(format="fltp")
    frames = 0
    with container:
        for coded in _whole_frames(container):
            for frame in converter.resample(coded):
                frames += frame.samples
                planes: Waveform = frame.to_ndarray().astype(np.float32, copy=False)
                yield planes.T
    if frames < declared_frames:
        raise _bad_audio(f"the FLAC file is cut short: {declared_frames} samples declared, {frames} there")


def _whole_frames(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    """Return the frames of a container; the last one may be torn and is then left out, any other is an error."""
    torn = None
    for packet in container.demux(audio=0):
        if torn is not None and packet.size:
            raise torn
        try:
            frames = packet.decode()
        except av.InvalidDataError as error:
            torn = error
            continue
        for frame in frames:
            assert isinstance(frame, av.AudioFrame)
            yield frame
