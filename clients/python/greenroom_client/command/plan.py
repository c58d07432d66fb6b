"""Where the speech goes and how it is coded, from what was typed. Pure, but for looking at the output's path."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from greenroom_client.command.problems import UsageError
from greenroom_client.config import Encoding

STDOUT = "-"


class Destination(Enum):
    """Where audio goes."""

    FILE = "file"
    """A new file, which appears under its name when it is complete."""
    STREAM = "stream"
    """Standard output, a pipe or a device file: written as it comes."""
    SOUND_DEVICE = "sound device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`encoding` is asked of the service; a `wav_header` is put before it here, where the length is known at last."""

    destination: Destination
    encoding: Encoding
    path: Path | None = None
    """None for standard output and the sound device."""
    wav_header: bool = False
    force: bool = False

    @property
    def needs_whole_text(self) -> bool:
        """True if the coding is not for text that is still being written."""
        return self.encoding is Encoding.FLAC

    @property
    def name(self) -> str:
        """What to call the destination."""
        if self.path is not None:
            return str(self.path)
        return "the sound device" if self.destination is Destination.SOUND_DEVICE else "standard output"


SUFFIXES: Mapping[str, Encoding] = {
    ".wav": Encoding.WAV,
    ".flac": Encoding.FLAC,
    ".ogg": Encoding.OGG_OPUS,
    ".opus": Encoding.OGG_OPUS,
    ".raw": Encoding.PCM_S16LE,
    ".pcm": Encoding.PCM_S16LE,
}
HEADERLESS = frozenset({Encoding.PCM_S16LE, Encoding.PCM_F32LE, Encoding.MULAW, Encoding.ALAW})
"""What can stand behind a WAV header."""


def plan_output(output: str | None, *, play: bool, encoding: Encoding | None, force: bool) -> Plan:
    """Return where speech goes. Raises UsageError for what cannot be."""
    if play and output is not None:
        raise UsageError("--play and --output exclude each other")
    if output is None:
        if encoding not in {None, Encoding.PCM_S16LE}:
            raise UsageError("the sound device takes s16le only; leave --encoding out")
        return Plan(destination=Destination.SOUND_DEVICE, encoding=Encoding.PCM_S16LE)
    if output == STDOUT:
        return _coded(encoding or Encoding.WAV, Plan(destination=Destination.STREAM, encoding=Encoding.WAV))
    return _plan_path(Path(output), encoding, force=force)


def _plan_path(path: Path, encoding: Encoding | None, *, force: bool) -> Plan:
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    if path.exists() and not path.is_file():
        stream = Plan(destination=Destination.STREAM, encoding=Encoding.WAV, path=path)
        return _coded(encoding or Encoding.WAV, stream)
    if path.exists() and not force:
        raise UsageError(f"{path} exists", hint="Overwrite it with --force.")
    file = Plan(destination=Destination.FILE, encoding=Encoding.WAV, path=path, force=force)
    return _coded(_coding_for(path.suffix.lower(), encoding), file)


def _coding_for(suffix: str, encoding: Encoding | None) -> Encoding:
    """Return the coding (WAV: behind a header) for a file's suffix and what was asked for."""
    by_suffix = SUFFIXES.get(suffix)
    if by_suffix is None:
        if encoding is None:
            known = " ".join(SUFFIXES)
            raise UsageError(f"cannot tell the coding from the suffix {suffix!r}", hint=f"Use {known} or --encoding.")
        return encoding
    if encoding is None or encoding is by_suffix:
        return by_suffix
    if by_suffix is Encoding.PCM_S16LE and encoding in HEADERLESS:
        return encoding
    raise UsageError(f"a {suffix} file cannot hold {encoding}", hint="Use .raw for audio without a header.")


def _coded(encoding: Encoding, plan: Plan) -> Plan:
    """Return the plan with its coding; WAV is 16-bit audio behind our own header."""
    wav = encoding is Encoding.WAV
    return Plan(
        destination=plan.destination,
        encoding=Encoding.PCM_S16LE if wav else encoding,
        path=plan.path,
        wav_header=wav,
        force=plan.force,
    )
