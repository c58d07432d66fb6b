"""Modules that wait to run until somebody asks for what they define."""

import importlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from memory_daemon.late_packages import settle_late

Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Write a package with parts; all of it is forgotten after the test. `RAN` in `sys` counts what has run."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "ran", [], raising=False)
    names: list[str] = []

    def write(name: str, whole: str, **parts: str) -> str:
        (tmp_path / name).mkdir()
        for part, text in {"__init__": whole, **parts}.items():
            (tmp_path / name / f"{part}.py").write_text(f"import sys\nsys.ran.append(__name__)\n{text}\n")
        importlib.invalidate_caches()
        names.append(name)
        return name

    yield write
    for name in [known for known in sys.modules if known.partition(".")[0] in names]:
        del sys.modules[name]


def ran() -> list[str]:
    """Return what has run, in its order."""
    return list(getattr(sys, "ran"))  # noqa: B009 - There only in these tests.


def test_late_package_runs_when_a_name_of_its_own_is_wanted(written: Written) -> None:
    """Importing it, or a part of it, does not run it; the first name that only it has does, once."""
    name = written("lateone", "from lateone.part import OF_PART\nOWN = 1", part="OF_PART = 2")
    settle_late(name)
    late = importlib.import_module(name)
    importlib.import_module(f"{name}.part")
    before = ran()
    found = (late.OWN, late.OF_PART, late.OWN)

    assert (["lateone.part"], ["lateone.part", "lateone"], (1, 2, 1)) == (before, ran(), found)


def test_part_of_a_late_package_is_imported_alone(written: Written) -> None:
    """`from package import part` is answered with the part."""
    name = written("latetwo", "OWN = 1", part="OF_PART = 2")
    settle_late(name)
    namespace: dict[str, object] = {}
    exec(f"from {name} import part", namespace)  # noqa: S102 - The words under test.

    assert ["latetwo.part"] == ran()


def test_late_part_of_a_package_that_is_not_imported_yet_waits_as_well(written: Written) -> None:
    """The package around it does not run for that, and later imports the part without running it."""
    name = written("latethree", "from latethree import part", part="OF_PART = 2")
    settle_late(f"{name}.part")
    nothing = ran()
    package = importlib.import_module(name)
    before = ran()

    assert ([], ["latethree"], 2) == (nothing, before, package.part.OF_PART)


def test_name_that_a_late_module_lacks_is_an_error_as_ever(written: Written) -> None:
    """Whoever asks gets AttributeError, also for Python's own names, for which nothing runs."""
    settle_late(written("latefour", "OWN = 1"))
    late = importlib.import_module("latefour")
    with pytest.raises(AttributeError, match="__wrapped__"):
        _ = late.__wrapped__
    before = ran()
    with pytest.raises(AttributeError, match="other"):
        _ = late.other

    assert ([], ["latefour"]) == (before, ran())


def test_late_module_that_asks_itself_while_it_runs_does_not_hang(written: Written) -> None:
    """It lacks what it has yet to define, as in any circle of imports."""
    settle_late(written("latefive", "import latefive\nEARLY = hasattr(latefive, 'OWN')\nOWN = 1"))

    assert (1, False) == tuple(getattr(importlib.import_module("latefive"), name) for name in ("OWN", "EARLY"))


def test_threads_that_ask_together_get_it_whole(written: Written) -> None:
    """The second one waits for the first, which runs it."""
    settle_late(written("latesix", "import time\nFIRST = 1\ntime.sleep(0.05)\nLAST = 2"))
    together = Barrier(4)

    def ask(_: int) -> int:
        together.wait()
        return int(importlib.import_module("latesix").LAST)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))

    assert ([2, 2, 2, 2], ["latesix"]) == (found, ran())


def test_late_module_that_fails_begins_anew(written: Written) -> None:
    """Whoever asked hears of it, and it is not left half done in its place."""
    settle_late(written("lateseven", "raise ImportError('broken')"))
    with pytest.raises(ImportError, match="broken"):
        _ = importlib.import_module("lateseven").OWN

    assert "lateseven" not in sys.modules


def test_what_is_there_already_or_nowhere_is_left_alone() -> None:
    """Nothing is replaced, and nothing that is missing seems to be there."""
    before = sys.modules["importlib"]
    settle_late("importlib", "no_such_package", "no_such_package.part", "json.no_such_part")

    assert (before, False) == (sys.modules["importlib"], "no_such_package" in sys.modules)
