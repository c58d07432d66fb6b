"""What can be wrong with a folder of weights, said with file and name, and all at once."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tts_service.errors import StartupError

PROBLEMS_SHOWN = 12
"""Of each file; a file of another model lacks hundreds of names, and the first few tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightProblem:
    """One thing that is wrong: in which file, with which name in it (empty: the file as a whole), and what."""

    file: str
    key: str = ""
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.what}" if self.key else f"{self.file}: {self.what}"


class BadWeightsError(StartupError):
    """A folder of weights cannot be used. `problems` holds all that was found; the message the first of each file."""

    def __init__(self, folder: Path, problems: Iterable[WeightProblem]) -> None:
        self.folder = folder
        self.problems = tuple(problems)
        super().__init__(f"the weights in {folder} cannot be used:\n" + "\n".join(_lines(self.problems)))


def refuse_problems(folder: Path, problems: Iterable[WeightProblem]) -> None:
    """Raise BadWeightsError if there is any problem."""
    found = tuple(problems)
    if found:
        raise BadWeightsError(folder, found)


def _lines(problems: tuple[WeightProblem, ...]) -> list[str]:
    shown: Counter[str] = Counter()
    lines = []
    for each in problems:
        shown[each.file] += 1
        if shown[each.file] <= PROBLEMS_SHOWN:
            lines.append(f"  {each}")
    lines += [
        f"  {file}: and {count - PROBLEMS_SHOWN} problems more"
        for file, count in shown.items()
        if count > PROBLEMS_SHOWN
    ]
    return lines
