"""What a daemon knows from before it started, and that it acts on it."""

from dataclasses import replace
from pathlib import Path

import pytest

from memory_daemon.journal import Journal, journal_files
from memory_daemon.journal_records import Demanded, Entry, Record, ServiceChanged, line_of
from memory_daemon.marks import HOST_POLICY, Mark
from memory_daemon.prediction_records import PredictionEnded, PredictionMade
from memory_daemon.predictions import Ground, Prediction, Predictions, Tally
from memory_daemon.recollection import Recollection, recollected, recollection_of
from memory_daemon.rhythm import DAY_SECONDS, expected
from memory_daemon.types import HOST, Device, DeviceId, ModuleName, ModuleStatus, ServiceName, Tier
from tests.fakes.daemon_world import UNIX_START_SECONDS, World, WorldMemory, WorldService

SPEECH, VOICE = ServiceName("speech"), ModuleName("voice")
GPU = DeviceId("GPU-1")
HOUR = 3600.0
MORNING = 20_000 * DAY_SECONDS + 8.1 * HOUR
ONE = Prediction(service=SPEECH, module=VOICE, ground=Ground.TIME_OF_DAY, uses=3, until_unix_seconds=MORNING + 900)


def demanded(unix_seconds: float) -> Entry:
    """Return what is written when the voice was used."""
    record = Demanded(service=SPEECH, uses={VOICE: 2}, restore_waits=0, restore_wait_seconds=0.0)
    return Entry(unix_seconds=unix_seconds, record=record)


def changed(device: DeviceId) -> Entry:
    """Return what is written when the service is governed on a device."""
    record = ServiceChanged(service=SPEECH, device=device, governed=True, reason="", epoch=1, instance_id="one")
    return Entry(unix_seconds=MORNING, record=record)


def made() -> Entry:
    """Return what is written when a prediction is made."""
    return Entry(unix_seconds=MORNING, record=PredictionMade(device=GPU, prediction=ONE))


def ended(*, hit: bool) -> Entry:
    """Return what is written when it has ended."""
    record = PredictionEnded(device=GPU, service=SPEECH, module=VOICE, ground=Ground.TIME_OF_DAY, hit=hit)
    return Entry(unix_seconds=MORNING, record=record)


def written(folder: Path, entries: list[Entry]) -> list[Path]:
    """Write a journal and return its files."""
    (folder / "journal.jsonl").write_bytes(b"".join(line_of(entry.record, entry.unix_seconds) for entry in entries))
    return journal_files(folder)


def test_recollection_of_uses_expects_them_on_the_next_day() -> None:
    """The time of day survives a restart, for the services that have been on the device."""
    found = recollection_of([changed(GPU), demanded(MORNING)], MORNING + 20 * HOUR)
    rhythm = found.state(GPU).rhythms[SPEECH][VOICE]

    assert expected(rhythm, MORNING + DAY_SECONDS, 300.0)
    assert {} == found.state(HOST).rhythms


def test_recollection_of_predictions_goes_on_counting() -> None:
    """Hits and misses are those of the whole journal, and what was open is open still."""
    found = recollection_of([made(), ended(hit=True), made(), ended(hit=False), made()], MORNING + 1)
    expected_counts = {Ground.TIME_OF_DAY: Tally(hits=1, misses=1)}

    assert Predictions(open=(ONE,), tallies=expected_counts) == found.state(GPU).predictions


def test_verdict_whose_prediction_is_forgotten_still_counts() -> None:
    """A journal that begins in the middle tells how a prediction ended all the same."""
    assert 1 == recollection_of([ended(hit=True)], MORNING + 1).state(GPU).predictions.hits


def test_entries_of_the_future_are_not_believed() -> None:
    """A clock that was ahead for a while wrote them."""
    found = recollection_of([changed(GPU), demanded(MORNING + 30 * DAY_SECONDS)], MORNING + HOUR)

    assert {} == found.state(GPU).rhythms


def test_recollected_of_a_long_journal_reads_its_newest_part(tmp_path: Path) -> None:
    """However long a journal is, a start reads no more than it may."""
    entries = [ended(hit=False)] * 1000 + [ended(hit=True)] * 10
    line_bytes = len(line_of(entries[-1].record, MORNING))
    found = recollected(written(tmp_path, entries), MORNING + 1, 10 * line_bytes + 20)

    assert Tally(hits=10) == found.state(GPU).predictions.tallies[Ground.TIME_OF_DAY]


def test_recollected_of_a_damaged_journal_takes_what_can_be_read(tmp_path: Path) -> None:
    """Lines that are cut off, no JSON or of a newer schema, and files that are gone, tell nothing and harm nothing."""
    good = line_of(made().record, MORNING)
    damaged = good[: len(good) // 2] + b"\n" + b'{"schema":1,"kind":"demand"}\n[1]\n"kind":"demand"\n\xff\n'
    newer = good.replace(b'"schema":1', b'"schema":99')
    path = tmp_path / "journal.jsonl"
    path.write_bytes(damaged + newer + good)
    found = recollected([tmp_path / "journal.1.jsonl", path], MORNING + 1)

    assert (ONE,) == found.state(GPU).predictions.open


POLICY = replace(
    HOST_POLICY,
    critical=Mark(size_bytes=100),
    low=Mark(size_bytes=200),
    high=Mark(size_bytes=300),
    minimum_period_seconds=60.0,
    maximum_period_seconds=60.0,
)
FIRST_USE = 15_900.0 + 2 * HOUR
"""The world's day begins 5,000 s before half past three, so this is in the middle of a slot."""


def world_after_a_day(folder: Path, *, foresight: bool) -> World:
    """Return a machine in which the voice was used once, pushed out in the evening, and is not used since."""
    policy = replace(POLICY, foresight=foresight)
    world = World(folder, policy, WorldMemory(device=HOST, total_bytes=1000, used_bytes=100))
    voice = ModuleStatus(module=VOICE, home=Tier.HOST, tier=Tier.HOST, home_bytes=400)
    world.add(WorldService(name=SPEECH, device=Device(device=HOST, tier=Tier.HOST), modules={VOICE: voice}))
    world.run(FIRST_USE)
    world.use(world.found[SPEECH], VOICE, 5)
    world.run(HOUR)
    world.memory.used_bytes = 900
    world.run(HOUR)
    world.memory.used_bytes = 100
    world.run(DAY_SECONDS - 2 * HOUR - 2 * HOUR)
    assert not world.found[SPEECH].modules[VOICE].at_home
    return world


def journal_of(world: World, folder: Path) -> list[Path]:
    """Write a world's records to a journal on disk, as they happened, and return its files."""
    moments = iter([UNIX_START_SECONDS + FIRST_USE] * len(world.records))
    journal = Journal(folder=folder, size_maximum_bytes=1 << 24, files=1, unix_clock=lambda: next(moments))
    for record in world.records:
        journal.write(record)
    journal.close()
    return journal_files(folder)


def restarted(world: World, folder: Path, recollection: Recollection) -> World:
    """Return the same machine after it was booted: daemon and service have just started."""
    policy = world.policies.current.policy
    fresh = World(folder, policy, world.memory, recollection=recollection)
    fresh.clock.advance(world.seconds)
    fresh.start_seconds = world.start_seconds
    reigned = world.found[SPEECH]
    modules = {name: replace(status, uses=0, last_use_unix_seconds=None) for name, status in reigned.modules.items()}
    fresh.add(WorldService(name=SPEECH, device=reigned.device, modules=modules, instance=reigned.instance + 1))
    return fresh


@pytest.mark.parametrize("foresight", [True, False], ids=["on", "off"])
def test_module_comes_home_ahead_of_its_time_of_day(tmp_path: Path, *, foresight: bool) -> None:
    """A module that was used yesterday at this time is home before it, and only if the operator wants that."""
    world = world_after_a_day(tmp_path, foresight=foresight)
    world.run(2 * HOUR)
    open_predictions = world.board.status.devices[0].predictions.made

    assert (foresight, int(foresight)) == (world.found[SPEECH].modules[VOICE].at_home, open_predictions)


def test_module_comes_home_ahead_of_its_time_although_the_daemon_restarted(tmp_path: Path) -> None:
    """What the journal tells of yesterday is worth as much as having been there."""
    world = world_after_a_day(tmp_path, foresight=True)
    known = recollected(journal_of(world, tmp_path / "journal"), world.unix_clock())
    (tmp_path / "without").mkdir()
    without = restarted(world, tmp_path / "without", Recollection())
    with_it = restarted(world, tmp_path, known)
    without.run(2 * HOUR)
    stayed_away = not without.found[SPEECH].modules[VOICE].at_home
    with_it.run(2 * HOUR)

    assert stayed_away
    assert with_it.found[SPEECH].modules[VOICE].at_home


def test_predictions_that_come_true_are_recorded_and_counted(tmp_path: Path) -> None:
    """The journal and the board tell that a module came ahead of need and was used then."""
    world = world_after_a_day(tmp_path, foresight=True)
    world.run(2 * HOUR)
    world.use(world.found[SPEECH], VOICE, 1)
    world.run(120.0)
    told: list[Record] = [one for one in world.records if isinstance(one, PredictionMade | PredictionEnded)]
    tally = world.board.status.devices[0].predictions.tallies[Ground.TIME_OF_DAY]

    assert ["prediction", "verdict"] == [one.kind for one in told]
    assert Tally(hits=1) == tally
