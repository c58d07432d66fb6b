"""What a formatter cannot enforce: sizes, docstrings of tests, words, and dead files."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "protos"
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 300
MAX_TEST_FILE_LINES = 500
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base"}
BANNED = {
    re.compile(r"(?<![.\w])print\("): "log an event, or use the console of the command",
    re.compile(r"except\s*:"): "name what is caught",
    re.compile(r"except (Base)?Exception:\s*(pass|\.\.\.)"): "nothing is swallowed",
    re.compile(r"\bTO" + r"DO\b|\bFIX" + r"ME\b|\bXX" + r"X\b"): "do it, or open an issue",
    re.compile(r"#\s*(noqa|type:\s*ignore)\s*$"): "an exception names its rule",
}
COMMANDS = {"say", "memctl", "benchmarks", "tools"}


def tracked(suffix: str) -> list[Path]:
    """Return the project's own files of one kind, committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"*{suffix}"],  # noqa: S607  # From PATH.
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    paths = [ROOT / line for line in listed if line]
    return [path for path in paths if GENERATED not in path.parents and path.is_file()]


SOURCES = tracked(".py")


def named(path: Path) -> str:
    """Return a path as it is known in the project."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_file_is_short_enough_to_be_one_thing(path: Path) -> None:
    """A file that outgrows the limit is split by noun."""
    limit = MAX_TEST_FILE_LINES if "tests" in path.parts else MAX_FILE_LINES

    assert len(path.read_text().splitlines()) <= limit


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_functions_are_short_enough_to_be_read_at_once(path: Path) -> None:
    """No function is longer than sixty lines."""
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]

    assert [] == [
        f.name for f in functions if f.end_lineno is not None and f.end_lineno - f.lineno + 1 > MAX_FUNCTION_LINES
    ]


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name.startswith("test_")], ids=named)
def test_every_test_says_what_it_shows(path: Path) -> None:
    """Each test has a docstring and at least one way to fail."""
    tree = ast.parse(path.read_text())
    tests = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name.startswith("test_")
    ]

    assert [] == [t.name for t in tests if not ast.get_docstring(t)]
    assert [] == [t.name for t in tests if not _can_fail(t)]


def _can_fail(test: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Say whether a test asserts, expects an exception, or hands on to a function that checks."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call) and re.search(
            r"raises|check|expect|assert|run_state_machine", ast.unparse(node.func)
        ):
            return True
    return False


@pytest.mark.parametrize("path", [p for p in SOURCES if "tests" not in p.parts], ids=named)
def test_source_keeps_to_the_words_of_the_project(path: Path) -> None:
    """No vague file name, no stray print, no silenced check without its rule, nothing left to do."""
    text = path.read_text()
    found = [why for pattern, why in BANNED.items() if any(map(pattern.search, text.splitlines()))]
    if COMMANDS & {*path.parts, path.stem} or path.name == "demo.py":
        found = [why for why in found if why != "log an event, or use the console of the command"]

    assert [] == found
    assert path.stem not in VAGUE_NAMES


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name == "__init__.py"], ids=named)
def test_package_init_is_one_docstring(path: Path) -> None:
    """A package's `__init__` says what the package is for and runs nothing."""
    body = ast.parse(path.read_text()).body

    assert 1 == len(body)
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_module_is_dead() -> None:
    """Every module of the packages is imported somewhere, or is an entry point."""
    text = "\n".join(p.read_text() for p in SOURCES) + (ROOT / "pyproject.toml").read_text()
    packages = ("tts_service", "memory_daemon", "greenroom_client", "memctl")
    dead = []
    for path in SOURCES:
        parts = path.with_suffix("").parts
        package = next((name for name in packages if name in parts), None)
        if package is None or path.stem in {"__init__", "__main__"} or "tests" in parts:
            continue
        module = ".".join(parts[parts.index(package) :])
        parent, _, leaf = module.rpartition(".")
        if not re.search(rf"{re.escape(module)}\b", text) and not re.search(
            rf"from {re.escape(parent)} import [^\n]*\b{leaf}\b|from {re.escape(parent)} import \([^)]*\b{leaf}\b", text
        ):
            dead.append(module)

    assert [] == dead


def test_one_file_names_the_cuda_driver() -> None:
    """Its bindings are imported when a GPU is there, which no import contract can see."""
    named_in = {
        named(path)
        for path in SOURCES
        if "tests" not in path.parts and re.search(r"cuda\.bindings|libcuda", path.read_text())
    }

    assert {"tts_service/residency/cuda_driver.py"} == named_in


def test_no_registry_and_no_path_of_a_machine_is_named() -> None:
    """The lock file and everything else work wherever the packages come from."""
    hosts = re.compile(r"p[y]pi\.org|python[h]osted\.org|registry\.np[m]js|/ro[o]t/|/wo[r]k/")
    files = [
        p for suffix in (".py", ".toml", ".lock", ".md", ".txt", ".sh", ".yaml", ".proto") for p in tracked(suffix)
    ]

    assert [] == [named(p) for p in files if hosts.search(p.read_text())]
