"""Host memory of weights that outlives the process: kept once it is filled, found again, let go of."""

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.fakes.own_engine import is_there
from tests.fakes.tiny_weights import own_copy, replaced, tiny_folder
from tts_service.engine_process.master_shelf import MasterShelf, ShelfLine
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.loading import ModelWeights, open_weights
from tts_service.models.chatterbox.running_form import AS_TRAINED, RunningForm
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.weight_problems import BadWeightsError
from tts_service.models.kept_master import KeptMaster
from tts_service.models.master_memory import KeptMemories
from tts_service.types import ModuleName, Precision

ENGLISH = ChatterboxModel.ENGLISH
A = ModuleName("a")
MEMORY = "/memfd:greenroom"


def descriptors(name: str) -> int:
    """Return how many descriptors this process has of a kind; others come and go with other tests' garbage."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(each.readlink()).startswith(name)
    return found


def name_of(descriptor: int) -> str:
    """Return by what `descriptors` finds what is behind a descriptor."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


class Keeper:
    """Keeps what it is given, as a front end does."""

    def __init__(self) -> None:
        self.kept: dict[ModuleName, KeptMaster] = {}

    def keep(self, master: KeptMaster) -> None:
        """Keep memory by a descriptor of its own."""
        self.let_go(master.module)
        self.kept[master.module] = KeptMaster(
            module=master.module,
            identity=master.identity,
            byte_count=master.byte_count,
            descriptor=os.dup(master.descriptor),
        )

    def let_go(self, module: ModuleName) -> None:
        """Let go of it."""
        if module in self.kept:
            os.close(self.kept.pop(module).descriptor)

    def memories(self) -> KeptMemories:
        """Return what the next process has: descriptors of its own for all that is kept."""
        inherited = [
            KeptMaster(
                module=each.module,
                identity=each.identity,
                byte_count=each.byte_count,
                descriptor=os.dup(each.descriptor),
            )
            for each in self.kept.values()
        ]
        return KeptMemories(inherited, keep=self.keep, let_go=self.let_go)


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    """Give one that lets go of everything in the end, and see that no descriptor is left."""
    gc.collect()
    before = descriptors(MEMORY)
    made = Keeper()
    yield made
    for module in tuple(made.kept):
        made.let_go(module)
    gc.collect()  # A test that saw an exception still has its frames.

    assert before == descriptors(MEMORY)


@pytest.fixture
def english(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of tiny weights that may be changed."""
    return own_copy(tiny_folder(tmp_path_factory.getbasetemp(), ENGLISH), tmp_path / "english")


def opened(folder: Path, keeper: Keeper, form: RunningForm = AS_TRAINED) -> ModelWeights:
    """Return the weights as a new process opens them."""
    return open_weights(folder, ENGLISH, memories=keeper.memories(), forms={T3: form})


def test_second_process_finds_the_weights_without_reading_them(
    keeper: Keeper, english: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same values, in the memory that the first has filled; the file is not read again."""
    first = opened(english, keeper).load(T3)
    second_weights = opened(english, keeper)
    monkeypatch.setattr("tts_service.models.chatterbox.loading.fill_master", None)
    told: list[tuple[int, int]] = []
    second = second_weights.load(T3, progress=lambda done, total: told.append((done, total)))
    expected = first.state_dict()

    assert expected.keys() == second.state_dict().keys()
    assert all(torch.equal(expected[name], each) for name, each in second.state_dict().items())
    assert [(second_weights.byte_count(T3),) * 2] == told


def test_memory_is_one_for_both_processes(keeper: Keeper) -> None:
    """What is kept costs nothing twice."""
    first = keeper.memories()
    memory = first.memory(A, 100, identity="x")
    memory.bytes_[7] = 9
    first.filled(A)
    found = keeper.memories().memory(A, 100, identity="x")

    assert (False, True) == (memory.is_filled, found.is_filled)
    assert 9 == int(found.bytes_[7])


@pytest.mark.parametrize(("identity", "byte_count"), [("y", 100), ("x", 101)])
def test_memory_of_other_weights_is_not_taken(keeper: Keeper, identity: str, byte_count: int) -> None:
    """Another identity or size has other weights: empty memory is given instead, and kept in its place."""
    first = keeper.memories()
    first.memory(A, 100, identity="x").bytes_.fill_(1)
    first.filled(A)
    second = keeper.memories()
    other = second.memory(A, byte_count, identity=identity)
    second.filled(A)

    assert (False, 0) == (other.is_filled, int(other.bytes_.max()))
    assert identity == keeper.kept[A].identity


def test_memory_that_was_not_filled_is_not_kept(keeper: Keeper) -> None:
    """A process that dies while it loads leaves nothing that is half a module."""
    memories = keeper.memories()
    memories.memory(A, 100, identity="x")

    assert {} == keeper.kept
    memories.drop(A)


def test_module_that_leaves_memory_is_kept_no_longer(keeper: Keeper, english: Path) -> None:
    """An eviction to disk frees host memory, also where it would have outlived the process."""
    weights = opened(english, keeper)
    weights.load(T3)
    assert T3 in keeper.kept
    weights.memories.drop(T3)

    assert {} == keeper.kept
    assert weights.load(T3) is not None


def test_weights_that_changed_on_disk_are_read(keeper: Keeper, english: Path) -> None:
    """A file that was written again is another, and so is another form of the same file."""
    opened(english, keeper).load(T3)
    before = keeper.kept[T3].identity
    path = english / "t3_cfg.safetensors"
    replaced(path, path.read_bytes())
    opened(english, keeper).load(T3)
    again = keeper.kept[T3].identity
    opened(english, keeper, RunningForm(precision=Precision.BF16)).load(T3)

    assert 3 == len({before, again, keeper.kept[T3].identity})


def test_weights_that_cannot_be_used_are_not_kept(keeper: Keeper, english: Path) -> None:
    """What the loader refuses is refused the next time too."""
    weights = opened(english, keeper)
    path = english / "t3_cfg.safetensors"
    replaced(path, path.read_bytes()[:-100])
    with pytest.raises(BadWeightsError, match="shorter"):
        weights.load(T3)
    weights.memories.drop(T3)

    assert {} == keeper.kept


def test_memory_cannot_be_cut_short(keeper: Keeper) -> None:
    """Whoever has it mapped would die of that."""
    memories = keeper.memories()
    memories.memory(A, 100_000, identity="x")
    memories.filled(A)

    with pytest.raises(PermissionError):
        os.ftruncate(keeper.kept[A].descriptor, 10)


async def until(shelf: MasterShelf, modules: set[str]) -> None:
    """Wait until a shelf has exactly these modules."""
    async with asyncio.timeout(5):
        while modules != {each.module for each in shelf.kept}:  # noqa: ASYNC110  # The shelf tells nobody.
            await asyncio.sleep(0.01)


async def test_shelf_keeps_what_an_engine_hands_over() -> None:
    """A descriptor comes over the line, and its memory lives on after the engine's own is gone."""
    shelf = MasterShelf()
    line = ShelfLine(shelf.listen())
    memories = KeptMemories((), keep=line.keep, let_go=line.let_go)
    memories.memory(A, 10, identity="x").bytes_.fill_(3)
    memories.filled(A)
    memories.memory(ModuleName("b"), 10, identity="x")
    memories.filled(ModuleName("b"))
    await until(shelf, {"a", "b"})
    memories.drop(ModuleName("b"))
    await until(shelf, {"a"})
    (kept,) = shelf.kept

    assert ("x", 10, b"\x03" * 10) == (kept.identity, kept.byte_count, os.pread(kept.descriptor, 10, 0))
    line._line.close()
    shelf.close()
    assert () == shelf.kept


async def test_shelf_hears_the_last_words_of_an_engine_that_died() -> None:
    """What was handed over just before the end counts, when the next engine is listened to."""
    shelf = MasterShelf()
    end = shelf.listen()
    line = ShelfLine(end)
    KeptMemories((), keep=line.keep, let_go=line.let_go).drop(A)
    memories = KeptMemories((), keep=line.keep, let_go=line.let_go)
    memories.memory(A, 10, identity="x")
    memories.filled(A)
    end.close()
    next_end = shelf.listen()

    assert [A] == [each.module for each in shelf.kept]
    next_end.close()
    shelf.close()


@pytest.mark.parametrize("nonsense", [b"{", b"[]", b'{"module": 1}', b'{"identity": "x"}', b"\xff"])
async def test_shelf_survives_nonsense(nonsense: bytes) -> None:
    """Whatever is said on the line, what is kept is kept, and descriptors that come with it are closed."""
    shelf = MasterShelf()
    end = shelf.listen()
    read, write = os.pipe()
    pipe = name_of(read)
    socket.send_fds(end, [nonsense], [read])
    await asyncio.sleep(0.05)

    assert () == shelf.kept
    assert 2 == descriptors(pipe)
    for descriptor in (read, write):
        os.close(descriptor)
    end.close()
    shelf.close()


def test_processes_are_told_apart() -> None:
    """The fake that asks whether a process runs knows this one, and none of a number that nobody has."""
    assert is_there(os.getpid())
    assert not is_there(2**22 + 1)
