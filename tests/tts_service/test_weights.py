"""The cache of converted weights: made once, checked always, never half there."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs

from tts_service.errors import StartupError
from tts_service.models import weights
from tts_service.models.weights import CachedWeights, write_atomically

TENSORS = {"one": torch.arange(1_000, dtype=torch.float32), "two.bias": torch.tensor([1.5, -2.5])}


class Conversion:
    """Makes tensors and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __repr__(self) -> str:
        return f"<Conversion {self.made} made>"

    def __call__(self) -> dict[str, torch.Tensor]:
        """Make the tensors."""
        self.made += 1
        return TENSORS


@pytest.fixture
def conversion() -> Conversion:
    """Return a conversion that counts."""
    return Conversion()


@pytest.fixture
def cached(tmp_path: Path, conversion: Conversion) -> CachedWeights:
    """Return weights in a folder that is not there yet."""
    return CachedWeights(folder=tmp_path / "cache", name="watermark.encoder", source="package 1.0", make=conversion)


def _equal(actual: dict[str, torch.Tensor]) -> bool:
    return actual.keys() == TENSORS.keys() and all(torch.equal(actual[name], TENSORS[name]) for name in TENSORS)


def test_weights_are_converted_once_and_read_often(cached: CachedWeights, conversion: Conversion) -> None:
    """The source is needed only the first time."""
    cached.ensure()
    read = [cached.read() for _ in range(3)]

    assert (1, [True] * 3) == (conversion.made, [_equal(each) for each in read])


def test_weights_read_first_are_converted_too(cached: CachedWeights, conversion: Conversion) -> None:
    """A cache that was removed meanwhile is made again."""
    first, second = cached.read(), cached.read()

    assert (1, True, True) == (conversion.made, _equal(first), _equal(second))


def test_weights_file_is_named_after_module_source_and_content(cached: CachedWeights) -> None:
    """The name tells what it is, and lets the content be checked."""
    path = cached.ensure()

    assert path.name.startswith("watermark.encoder-")
    assert path.suffix == ".safetensors"
    assert [path] == list(path.parent.iterdir())


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _rename(path: Path) -> None:
    path.rename(path.with_name(f"{path.stem[:-32]}{32 * '0'}.safetensors"))


def _replace(path: Path) -> None:
    """Put another module's sound file under this module's name and its own sum."""
    other = CachedWeights(folder=path.parent / "other", name="voice", source="package 1.0", make=lambda: TENSORS)
    foreign = other.ensure()
    foreign.rename(path.with_name(f"{path.stem[:-32]}{foreign.stem[-32:]}.safetensors"))
    path.unlink()


@pytest.mark.parametrize("damage", [_flip, _truncate, _empty, _rename, _replace])
def test_weights_that_are_not_right_are_noticed_and_made_again(
    cached: CachedWeights, conversion: Conversion, damage: Callable[[Path], None]
) -> None:
    """One bit, a torn end, nothing at all, another name, or another module's file: all are found before use."""
    path = cached.ensure()
    damage(path)
    with capture_logs() as logs:
        read = cached.read()

    assert (2, True) == (conversion.made, _equal(read))
    assert ["weights_damaged", "weights_converted"] == [each["event"] for each in logs]
    assert [path.name] == [each.name for each in path.parent.iterdir() if each.is_file()]


def test_weights_of_another_release_are_replaced(cached: CachedWeights, conversion: Conversion) -> None:
    """A new source has a new name, and the old file goes."""
    cached.ensure()
    newer = CachedWeights(folder=cached.folder, name=cached.name, source="package 2.0", make=conversion)
    path = newer.ensure()

    assert (2, [path]) == (conversion.made, list(path.parent.iterdir()))


def test_weights_of_other_modules_are_left_alone(cached: CachedWeights, conversion: Conversion) -> None:
    """Modules share a folder and nothing else, even if one name begins like another."""
    others = [
        CachedWeights(folder=cached.folder, name=name, source="package 1.0", make=conversion).ensure()
        for name in ("watermark", "watermark.encoder-small")
    ]
    path = cached.ensure()

    assert {path, *others} == set(path.parent.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_weights_that_cannot_be_written_say_where_and_what_to_do(
    cached: CachedWeights, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A full disk or a folder without write access is named, and leaves nothing behind."""

    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(weights.os, "fsync", failing)
    with pytest.raises(StartupError) as failed:
        cached.ensure()

    assert str(cached.folder) in str(failed.value)
    assert all(words in str(failed.value) for words in (os.strerror(number), "MiB free", "cache_dir"))
    assert [] == list(cached.folder.iterdir())


def test_weights_that_cannot_be_kept_are_read_all_the_same(
    cached: CachedWeights, conversion: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors that are in memory serve, each time anew; the log says that they were not kept, and why."""

    def failing(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(weights.os, "fsync", failing)
    with capture_logs() as logs:
        read = [cached.read() for _ in range(2)]

    assert ([True, True], 2) == ([_equal(each) for each in read], conversion.made)
    assert [("weights_not_kept", "warning", True)] * 2 == [
        (each["event"], each["log_level"], os.strerror(errno.ENOSPC) in each["error"]) for each in logs
    ]


def test_weights_whose_folder_is_a_file_say_so(tmp_path: Path, conversion: Conversion) -> None:
    """A path that cannot be a folder is the same kind of trouble."""
    (tmp_path / "cache").write_text("in the way")
    cached = CachedWeights(folder=tmp_path / "cache", name="voice", source="package 1.0", make=conversion)

    with pytest.raises(StartupError, match="cache"):
        cached.ensure()


def test_weights_in_a_folder_without_write_access_are_still_read(
    cached: CachedWeights, conversion: Conversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good files need no writing."""
    cached.ensure()
    monkeypatch.setattr(weights, "write_atomically", lambda *_: pytest.fail("wrote"))

    assert (True, 1) == (_equal(cached.read()), conversion.made)


def test_file_that_was_being_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before the last step leaves the old file and no part of the new one."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(weights.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")

    assert ([path], b"old") == (list(tmp_path.iterdir()), path.read_bytes())
