"""A spare process beside the engine: engines are its copies, it is gone when it should be, and it may be missing."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.test_engine_process import whole_text
from tests.fakes.hurt import eventually
from tests.fakes.own_engine import OwnEngine, is_there, running, spares
from tts_service.models.builtin import HEART


@pytest.fixture
def service(tmp_path: Path) -> Iterator[OwnEngine]:
    """Run a service with an engine of its own and a spare, which has imported all that it will."""
    with running(OwnEngine(tmp_path, settings={"ENGINE__MOST_DEATHS": "1000"})) as started:
        assert eventually(lambda: started.logged("spare_prepared") == 1, within_seconds=60)
        yield started


def parent(pid: int) -> int:
    """Return a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def priorities(pid: int) -> set[int]:
    """Return the priorities of a process's threads."""
    stats = [each.read_text().rpartition(")")[2].split() for each in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {int(stat[16]) for stat in stats}


def test_every_engine_is_a_copy_and_a_child_of_the_front_end(service: OwnEngine) -> None:
    """The first and each later one; a copy speaks the same bytes, with no thread at the spare's low priority."""
    first = whole_text(service, HEART.voice_id)
    assert service.replaced(service.hurt_engine(signal.SIGKILL))
    again = whole_text(service, HEART.voice_id)
    assert service.replaced(service.hurt_engine(signal.SIGKILL))
    once_more = whole_text(service, HEART.voice_id)

    assert (3, 0) == (service.logged("engine_copied"), service.logged("engine_not_copied"))
    assert service.service.pid == parent(service.engine)
    assert priorities(service.service.pid) == priorities(service.engine)
    assert first == again == once_more
    assert len(first) > 10_000


def test_engine_outlives_the_spare_and_the_next_one_needs_none(service: OwnEngine) -> None:
    """A spare that dies is nobody's fault and nobody hears it; an engine then begins from nothing."""
    (spare,) = spares(service.service.pid)
    engine = service.engine
    os.kill(spare, signal.SIGKILL)
    assert eventually(lambda: service.logged("spare_gone") == 1)
    spoken = whole_text(service, HEART.voice_id)
    assert (engine, []) == (service.engine, spares(service.service.pid))
    assert service.replaced(service.hurt_engine(signal.SIGKILL))

    assert spoken == whole_text(service, HEART.voice_id)
    assert (1, 2) == (service.logged("engine_copied"), service.logged("engine_started"))


def test_spare_can_be_switched_off(tmp_path: Path) -> None:
    """Then there is one process beside the front end, and engines begin from nothing."""
    with running(OwnEngine(tmp_path, settings={"ENGINE__SPARE": "false"})) as service:
        pid = service.engine

        assert [] == spares(service.service.pid)
        assert (0, 0) == (service.logged("spare_started"), service.logged("engine_copied"))
        assert is_there(pid)
