"""What keeps the daemon from moving anything, said wherever somebody might wonder: a rehearsal, a freeze. Pure."""

from rich.text import Text

from memctl.format import short_duration
from memctl.tables import Reader
from memctl.types import Freeze, Status

REHEARSAL = "DRY RUN: nothing moves"


def standing(status: Status, reader: Reader) -> str:
    """Return in a few words that nothing moves, and why; empty where the daemon acts."""
    words = [REHEARSAL] if status.dry_run else []
    if status.freeze is not None:
        words.append(f"FROZEN {freeze_end(status.freeze, reader)}{_by(status.freeze)}")
    return "  ".join(words)


def standing_lines(status: Status, reader: Reader) -> list[Text]:
    """Return the same as sentences, for commands that answer in lines."""
    lines = []
    if status.dry_run:
        lines.append("The daemon only rehearses (dry_run=true): it moves nothing.")
    if status.freeze is not None:
        end = freeze_end(status.freeze, reader)
        lines.append(f"The daemon is frozen {end}{_by(status.freeze)}: it moves nothing; `memctl thaw` ends it.")
    return [Text(line, style="bold yellow") for line in lines]


def freeze_end(freeze: Freeze, reader: Reader) -> str:
    """Return how long a freeze still holds."""
    if freeze.expire_unix_seconds is None:
        return "until thawed"
    return f"for {short_duration(max(0.0, freeze.expire_unix_seconds - reader.now_unix_seconds))}"


def _by(freeze: Freeze) -> str:
    return f" by {freeze.set_by}" if freeze.set_by else ""
