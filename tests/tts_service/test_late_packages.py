"""Packages whose `__init__` waits: in both orders of importing, for others as if nothing were different."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tts_service.models.late_packages import settle_package

NAME = "package_for_a_test"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Put a package there whose `__init__` counts its runs and takes a name from its part; forget it afterwards."""
    folder = tmp_path / NAME
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("RUNS = globals().get('RUNS', 0) + 1\nfrom .part import VALUE\n")
    (folder / "part.py").write_text("VALUE = 7\n")
    (folder / "inner" / "__init__.py").write_text("raise ImportError('needs what is not there')\n")
    (folder / "inner" / "deep.py").write_text("VALUE = 8\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield NAME
    for name in [each for each in sys.modules if each.partition(".")[0] == NAME]:
        del sys.modules[name]


def test_part_is_imported_without_its_package(package: str) -> None:
    """The package itself has not run, and its part is found as an attribute too."""
    settle_package(package)
    part = importlib.import_module(f"{package}.part")

    assert "RUNS" not in vars(sys.modules[package])
    assert part is sys.modules[package].part


def test_package_runs_once_when_somebody_wants_what_it_defines(package: str) -> None:
    """Whoever imports it later sees all of it."""
    settle_package(package)
    importlib.import_module(f"{package}.part")
    whole = importlib.import_module(package)

    assert (7, 1) == (whole.VALUE, whole.RUNS)
    assert 1 == importlib.import_module(package).RUNS
    assert not hasattr(whole, "NO_SUCH_NAME")


def test_name_with_a_known_home_comes_from_there(package: str) -> None:
    """It is the package's own, and the package itself has not run; for any other name it does."""
    settle_package(package, {"VALUE": "part"})
    whole = sys.modules[package]

    assert (7, False) == (whole.VALUE, "RUNS" in vars(whole))
    assert (1, 7) == (whole.RUNS, vars(whole)["VALUE"])


def test_all_names_are_those_of_the_package_that_has_run(package: str) -> None:
    """`import *` gives what it would have given."""
    settle_package(package)
    given: dict[str, object] = {}
    exec(f"from {package} import *", given)  # noqa: S102  # A function may not say it.

    assert (7, 1) == (given["VALUE"], given["RUNS"])


def test_package_that_was_imported_before_is_left_alone(package: str) -> None:
    """It stays the same module, and does not run again."""
    whole = importlib.import_module(package)
    settle_package(package)

    assert whole is sys.modules[package]
    assert (1, 8) == (whole.RUNS, _deep(package))


def _deep(package: str) -> int:
    settle_package(f"{package}.inner")
    value: int = importlib.import_module(f"{package}.inner.deep").VALUE
    return value


def test_package_whose_run_fails_fails_when_it_is_asked(package: str) -> None:
    """Its parts can be had all the same; asking it for more says why it fails, every time."""
    settle_package(package)

    assert 8 == _deep(package)
    for _ in range(2):
        with pytest.raises(ImportError, match="needs what is not there"):
            importlib.import_module(f"{package}.inner").NO_SUCH_NAME  # noqa: B018  # Asking is what is tried.


def test_missing_package_stays_missing() -> None:
    """Nothing is put in the place of what is not installed."""
    settle_package("no_such_package_anywhere")

    assert "no_such_package_anywhere" not in sys.modules


BEFORE = "from chatterbox.tts import ChatterboxTTS as Theirs"
AFTER = (
    "from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel\n"
    "from tts_service.models.chatterbox.layout import LAYOUTS, build_network\n"
    "from tts_service.models.chatterbox.network_size import NetworkSize\n"
    "english = ChatterboxModel.ENGLISH\n"
    "for each in LAYOUTS[english].modules: build_network(each.module, english, NetworkSize.TINY)"
)


BESIDE = (
    "import onnx, scipy.signal, torchaudio\n"
    "assert scipy.signal.get_window('hann', 8).sum() == 4\n"
    "scipy.signal.lfilter, torchaudio.functional.resample, torchaudio.transforms.Resample, torchaudio.load, onnx.load"
)
"""What others want of packages that wait beside upstream's: all of it is there."""


@pytest.mark.parametrize("parts", [(BEFORE, AFTER), (AFTER, BEFORE)])
def test_networks_and_upstreams_own_classes_can_be_had_in_either_order(parts: tuple[str, str]) -> None:
    """Upstream's whole package works beside ours, whoever came first."""
    script = "\n".join(
        (*parts, BESIDE, "import chatterbox", "assert chatterbox.ChatterboxTTS is Theirs", "print('well')")
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False, timeout=100
    )

    assert "well" in done.stdout, done.stderr
