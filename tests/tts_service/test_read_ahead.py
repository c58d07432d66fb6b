"""Weights that are read before they are asked for: in order, not too many at once, no longer than they are wanted."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.fakes.tiny_weights import own_copy, tiny_folder
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.host_master import HostMaster
from tts_service.models.chatterbox.loading import no_progress, open_weights
from tts_service.models.chatterbox.read_ahead import MOST_UNTAKEN, Progress, ReadAhead, ReadEndedError
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.weight_problems import BadWeightsError
from tts_service.types import ModuleName

NAMES = tuple(ModuleName(f"module {number}") for number in range(MOST_UNTAKEN + 2))
WAIT_SECONDS = 10.0


class Reads:
    """Reads that are told apart, and say when they began."""

    def __init__(self) -> None:
        self.began: list[ModuleName] = []
        self.change = threading.Condition()

    def of(self, name: ModuleName) -> Callable[[Progress], HostMaster]:
        """Return what reads one module."""

        def read(progress: Progress) -> HostMaster:
            with self.change:
                self.began.append(name)
                self.change.notify_all()
            progress(5, 5)
            return HostMaster(torch.zeros(5, dtype=torch.uint8), {str(name): torch.zeros(1)})

        return read

    def wait_for(self, count: int) -> bool:
        """Wait until so many have begun."""
        with self.change:
            return self.change.wait_for(lambda: len(self.began) >= count, WAIT_SECONDS)


def test_what_is_read_ahead_is_taken_once() -> None:
    """Each module's own weights, told as far as they are; the second time nobody has them."""
    reads, ahead, told = Reads(), ReadAhead(), list[tuple[int, int]]()
    ahead.begin(NAMES[0], reads.of(NAMES[0]))
    assert reads.wait_for(1)
    master = ahead.take(NAMES[0], lambda done, total: told.append((done, total)))
    again = ahead.take(NAMES[0], no_progress)

    assert master is not None
    assert ([str(NAMES[0])], (5, 5), None) == (list(master.tensors), told[-1], again)


def test_no_more_is_read_than_may_wait() -> None:
    """The next one begins when one has been taken, and one that has not begun is left to whoever wants it now."""
    reads, ahead = Reads(), ReadAhead()
    for name in NAMES:
        ahead.begin(name, reads.of(name))
    assert reads.wait_for(MOST_UNTAKEN)
    not_begun = ahead.take(NAMES[-1], no_progress)
    before = tuple(reads.began)
    assert ahead.take(NAMES[0], no_progress) is not None
    assert reads.wait_for(MOST_UNTAKEN + 1)

    assert (None, NAMES[:MOST_UNTAKEN]) == (not_begun, before)
    assert NAMES[: MOST_UNTAKEN + 1] == tuple(reads.began)
    ahead.end()


def test_errors_belong_to_whoever_takes_the_weights() -> None:
    """Reading goes on with the next module."""
    reads, ahead = Reads(), ReadAhead()

    def broken(progress: Progress) -> HostMaster:
        reads.of(NAMES[0])(progress)
        raise OSError("gone")

    ahead.begin(NAMES[0], broken)
    ahead.begin(NAMES[1], reads.of(NAMES[1]))
    assert reads.wait_for(1)
    with pytest.raises(OSError, match="gone"):
        ahead.take(NAMES[0], no_progress)

    assert reads.wait_for(2)


def test_reading_ends_when_it_is_told_to() -> None:
    """At its next piece, and what had not begun never does."""
    held, ahead, ended = threading.Event(), ReadAhead(), list[BaseException]()
    begun, threads = threading.Event(), list[threading.Thread]()

    def read(progress: Progress) -> HostMaster:
        threads.append(threading.current_thread())
        begun.set()
        held.wait(WAIT_SECONDS)
        try:
            progress(1, 2)
        except BaseException as error:
            ended.append(error)
            raise
        raise AssertionError("it went on")

    for name in NAMES[:2]:
        ahead.begin(name, read)
    assert begun.wait(WAIT_SECONDS)
    threading.Timer(0.05, held.set).start()
    ahead.end()

    assert [False] == [each.is_alive() for each in threads]
    assert [ReadEndedError] == [type(each) for each in ended]
    assert None is ahead.take(NAMES[1], no_progress)


def test_whoever_waits_hears_that_the_start_is_to_end() -> None:
    """The check that ends everything else ends reading too, and taking says why."""

    def check() -> None:
        raise InterruptedError("to end")

    reads, ahead = Reads(), ReadAhead(check)
    ahead.begin(NAMES[0], reads.of(NAMES[0]))
    assert reads.wait_for(1)

    with pytest.raises(InterruptedError, match="to end"):
        ahead.take(NAMES[0], no_progress)


def test_modules_have_the_same_weights_read_ahead(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every tensor of every module, in one piece as ever; afterwards they are read when they are asked for."""
    folder = tiny_folder(tmp_path_factory.getbasetemp(), ChatterboxModel.ENGLISH)
    plain = open_weights(folder, ChatterboxModel.ENGLISH)
    ahead = open_weights(folder, ChatterboxModel.ENGLISH, ahead=ReadAhead())
    for name in plain.modules:
        theirs, first, second = (each.load(name).state_dict() for each in (plain, ahead, ahead))

        assert theirs.keys() == first.keys()
        assert all(torch.equal(theirs[key], first[key]) and torch.equal(theirs[key], second[key]) for key in theirs)


def test_weights_that_are_refused_are_let_go(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """A folder with a problem in its tokenizer gives back what was read before."""
    folder = own_copy(tiny_folder(tmp_path_factory.getbasetemp(), ChatterboxModel.ENGLISH), tmp_path / "english")
    (folder / "tokenizer.json").unlink()
    ahead = ReadAhead()
    with pytest.raises(BadWeightsError, match=r"tokenizer\.json: is missing"):
        open_weights(folder, ChatterboxModel.ENGLISH, ahead=ahead)

    assert None is ahead.take(T3, no_progress)
