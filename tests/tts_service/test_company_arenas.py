"""Sound of several sessions over arenas: captured late, sent away, not to be had; nobody hears more than rounding."""

import asyncio
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from tests.fakes.arena_company import ArenaCompany, arena_company
from tests.fakes.tiny_chatterbox import TinyChatterbox
from tests.fakes.tiny_stage import Listener
from tts_service import company_room, late_steps
from tts_service.residency.device_driver import DeviceMemoryError
from tts_service.speech.captured.sound_company import CapturedCompany, PlacedMel
from tts_service.speech.company import MelWanted
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.session_config import SessionConfig

Samples = NDArray[np.float64]
SHORT = ChunkSchedule(first_tokens=5, next_tokens=4, growth=1.3, max_tokens=9)
TEXTS = ("Hello there, this is some text.",)
ROUNDING = 0.05
"""Of the energy, as in `test_sound_company`."""
SESSIONS = 4


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder below which all tests share tiny weights."""
    return tmp_path_factory.getbasetemp().parent / "tiny-weights"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a pause, and memory be asked for again at once."""
    monkeypatch.setattr(late_steps, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(company_room, "AGAIN_SECONDS", 0.02)


def configs_of(tiny: TinyChatterbox) -> list[SessionConfig]:
    """Return a seed for each session."""
    return [tiny.config(seed=seed, max_segment_tokens=14) for seed in range(SESSIONS)]


@pytest.fixture(scope="module")
def alone(shared_folder: Path) -> list[Samples]:
    """Return what each session hears by itself."""

    async def spoken() -> list[Samples]:
        async with arena_company(shared_folder, listeners=1) as (stage, [listener]):
            stage.tiny.speech.schedule = SHORT
            heard = []
            for number, config in enumerate(configs_of(stage.tiny)):
                heard.append(await spoken_by(listener, f"u{number}", config))
            assert 0 == stage.engine.late.counts.taken, "one by itself has nothing captured for several"
            assert not stage.together()
            return heard

    return asyncio.run(spoken())


async def spoken_by(listener: Listener, utterance_id: str, config: SessionConfig) -> Samples:
    """Have a session speak, and return what it hears."""
    listener.order(utterance_id, config, TEXTS)
    await listener.end_of(utterance_id)
    return np.frombuffer(listener.audio(utterance_id), "<i2").astype(np.float64)


async def round_of(stage: ArenaCompany, listeners: Sequence[Listener], utterance_id: str) -> list[Samples]:
    """Have all sessions speak at once."""
    stage.tiny.speech.schedule = SHORT
    spoken = zip(listeners, configs_of(stage.tiny), strict=True)
    return await asyncio.gather(*(spoken_by(listener, utterance_id, config) for listener, config in spoken))


def furthest(alone: Sequence[Samples], heard: Sequence[Samples]) -> float:
    """Return the greatest energy of a difference over that of what was to be heard."""
    assert [len(each) for each in alone] == [len(each) for each in heard]
    pairs = zip(alone, heard, strict=True)
    return max(float(np.linalg.norm(one - other) / np.linalg.norm(one)) for one, other in pairs)


def is_sound(stage: ArenaCompany) -> bool:
    """Tell whether all places are free, nothing keeps the memory, and the device is well."""
    company = stage.stages.company
    return (company is None or company.free_places == 6) and stage.driver.lost is None and not stage.status().leases


async def test_graphs_for_several_are_captured_while_they_speak(shared_folder: Path, alone: list[Samples]) -> None:
    """Sessions that meet again and again go on by themselves until all is captured, and are then made together."""
    async with arena_company(shared_folder, listeners=SESSIONS) as (stage, listeners):
        at_start = stage.engine.late.counts
        first = await round_of(stage, listeners, "first")
        await stage.all_captured()
        late = stage.engine.late.counts
        second = await round_of(stage, listeners, "second")

        assert (0, 0) == (at_start.taken, late.failed)
        assert at_start.waiting == late.taken > 10
        assert ROUNDING > max(furthest(alone, first), furthest(alone, second))
        assert max(stage.together()) > 1
        assert is_sound(stage)


async def test_capture_that_fails_leaves_everybody_speaking_alone(shared_folder: Path, alone: list[Samples]) -> None:
    """Without memory for the fourth graph there is no company, for good; the log and the counts say so."""
    with capture_logs() as logs:
        async with arena_company(shared_folder, listeners=SESSIONS, captures=3) as (stage, listeners):
            first = await round_of(stage, listeners, "first")
            await stage.all_captured()
            second = await round_of(stage, listeners, "second")
            counts = stage.engine.late.counts
            sound = is_sound(stage)

    assert (3, 0) == (counts.taken, counts.waiting)
    assert counts.failed > 5
    assert ["late_step_failed"] == [each["event"] for each in logs if each["log_level"] == "warning"]
    assert stage.stages.company is None
    assert not stage.together()
    assert 0.0 == max(furthest(alone, first), furthest(alone, second))
    assert sound


async def test_memory_that_is_sent_away_leaves_between_decodes(
    shared_folder: Path, alone: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a place keeps it: orders to leave are carried out when nobody has one, and it comes back."""
    async with arena_company(shared_folder, listeners=SESSIONS, late=False) as (stage, listeners):
        real, stayed = CapturedCompany.begin, list[bool]()

        def begin(company: CapturedCompany, flow: object, wanted: MelWanted) -> PlacedMel | None:
            """Take a place, order the memory away, and look whether it stays."""
            placed = real(company, flow, wanted)
            if placed is not None:
                stage.send_away()
                time.sleep(0.02)
                stayed.append(stage.space.is_mapped)
            return placed

        monkeypatch.setattr(CapturedCompany, "begin", begin)
        rounds = count()
        while len(stayed) < 3:  # Those who are slow may meet seldom.
            heard = await round_of(stage, listeners, f"u{next(rounds)}")
            assert ROUNDING > furthest(alone, heard)
            while stage.space.is_mapped:  # noqa: ASYNC110  # Nobody would ring for a test.
                await asyncio.sleep(0.02)
            stage.residency.set_directive(None)

        assert all(stayed)
        assert stage.status().evictions > 0
        assert is_sound(stage)


async def test_memory_that_comes_late_is_waited_for_by_nobody(
    shared_folder: Path, alone: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is not to be had chunks are decoded one after the other; once it is, together."""
    async with arena_company(shared_folder, listeners=SESSIONS, late=False) as (stage, listeners):
        while stage.status().tier.name == "DEVICE":
            stage.send_away()
            await asyncio.sleep(0.02)
        stage.residency.set_directive(None)
        refused, restore = list[int](), stage.space.restore

        def short() -> None:
            refused.append(1)
            raise DeviceMemoryError("create", 2, "out of memory")

        monkeypatch.setattr(stage.space, "restore", short)
        first = await round_of(stage, listeners, "first")
        without = stage.together()
        monkeypatch.setattr(stage.space, "restore", restore)
        second = await round_of(stage, listeners, "second")

        assert refused
        assert not without
        assert 0.0 == furthest(alone, first)
        assert ROUNDING > furthest(alone, second)
        assert max(stage.together()) > 1
        assert is_sound(stage)
