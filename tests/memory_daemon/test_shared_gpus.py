"""One daemon, two GPUs, services that come and go: what holds for every course of memory and demand."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_daemon.host_records import HostSampled
from memory_daemon.journal_records import DecisionMade
from memory_daemon.ledger import claim_of, pool_bytes
from memory_daemon.marks import GPU_POLICY, Mark, resolve
from memory_daemon.orders import ServiceView
from memory_daemon.types import DeviceId, MemorySample, ModuleName, ResidencyReport, ServiceName, Tier
from memory_daemon.usage import HostReading
from tests.fakes.daemon_world import WorldService
from tests.fakes.shared_gpus import SIZES, SharedGpus

FIRST, SECOND = DeviceId("GPU-1"), DeviceId("GPU-2")
HOMES = {"a": FIRST, "b": FIRST, "c": FIRST, "d": SECOND, "e": SECOND}
FLOOR_BYTES = 300
EMPTY = ResidencyReport(unix_seconds=0.0, modules=())
POLICY = replace(GPU_POLICY, critical=Mark(size_bytes=200), low=Mark(size_bytes=400), high=Mark(size_bytes=600))
MARKS = resolve(POLICY, 4000)


@pytest.fixture
def gpus(tmp_path: Path) -> SharedGpus:
    """Return two GPUs with three services on one and two on the other."""
    return made(tmp_path)


def made(folder: Path) -> SharedGpus:
    """Return the machine; service `b` has a floor."""
    machine = SharedGpus(folder, POLICY, (FIRST, SECOND), {"b": FLOOR_BYTES})
    for name, device in HOMES.items():
        machine.serve(name, device)
    return machine


def service(machine: SharedGpus, name: str) -> WorldService:
    """Return a service."""
    return machine.found[ServiceName(name)]


def budgets(machine: SharedGpus, device: DeviceId) -> dict[str, int]:
    """Return the budgets of a device, by service."""
    status = machine.status_of(device)
    return {} if status is None else {str(name): size for name, size in status.budgets.items()}


def test_each_gpu_is_divided_between_its_own_services(gpus: SharedGpus) -> None:
    """A GPU's budgets name its services and no others."""
    gpus.tick()

    assert (set("abc"), set("de")) == (set(budgets(gpus, FIRST)), set(budgets(gpus, SECOND)))


def test_pressure_on_one_gpu_moves_nothing_on_the_other(gpus: SharedGpus) -> None:
    """Each GPU stands for itself."""
    gpus.memories[FIRST].used_bytes = 1900
    gpus.run(10.0)

    assert gpus.free_on(FIRST) >= MARKS.high_bytes
    assert all(status.at_home for one in gpus.on(SECOND) for status in one.modules.values())


def test_service_that_goes_leaves_its_budget_to_the_others(gpus: SharedGpus) -> None:
    """A reservation ends with its service, and one that is alone needs none."""
    gpus.run(2.0)
    service(gpus, "c").up = False
    gpus.run(2.0)
    two = set(budgets(gpus, FIRST))
    service(gpus, "b").up = False
    gpus.run(2.0)

    assert (set("ab"), set()) == (two, set(budgets(gpus, FIRST)))
    assert service(gpus, "a").budget_bytes is None


def test_service_that_comes_gets_a_budget_at_once(gpus: SharedGpus) -> None:
    """A newcomer's first directive has its reservation, and what is handed out still fits."""
    gpus.run(2.0)
    gpus.serve("f", SECOND)
    gpus.tick()

    assert set("def") == set(budgets(gpus, SECOND))
    assert service(gpus, "f").directives[0].wish.budget_bytes == budgets(gpus, SECOND)["f"]


def test_victims_of_two_services_are_those_whose_absence_costs_least(gpus: SharedGpus) -> None:
    """The busy service keeps everything while the idle ones give back."""
    for _ in range(30):
        for name in SIZES:
            gpus.use(service(gpus, "a"), ModuleName(name), 5)
        gpus.run(0.5)
    gpus.memories[FIRST].used_bytes = 2200
    gpus.run(8.0)

    assert all(status.at_home for status in service(gpus, "a").modules.values())
    assert FLOOR_BYTES <= service(gpus, "b").held_bytes < sum(SIZES.values())


def test_one_shortage_of_host_memory_is_relieved_once(gpus: SharedGpus) -> None:
    """There is one host: what one GPU's services give is not asked of the other's as well, before it has been seen."""
    for name in ("a", "d"):
        found = service(gpus, name)
        found.modules = {module: replace(status, tier=Tier.HOST) for module, status in found.modules.items()}
    gpus.host = HostReading(unix_seconds=0.0, total_bytes=10_000, free_bytes=900)
    gpus.run(2.5)
    relieved = [one for one in gpus.records if isinstance(one, DecisionMade) and one.to_disk]
    seen = [one for one in gpus.records if isinstance(one, HostSampled)]

    assert [FIRST] == [one.device for one in relieved]
    assert [(900, False), (900, True)] == [(one.free_bytes, one.short) for one in seen]


def test_other_gpu_helps_when_the_first_has_nothing_to_give(gpus: SharedGpus) -> None:
    """A shortage that lasts is everybody's: with nothing idle on the first GPU, the second one's modules go."""
    found = service(gpus, "d")
    found.modules = {module: replace(status, tier=Tier.HOST) for module, status in found.modules.items()}
    gpus.host = HostReading(unix_seconds=0.0, total_bytes=10_000, free_bytes=900)
    gpus.run(2.5)

    assert [SECOND] == [one.device for one in gpus.records if isinstance(one, DecisionMade) and one.to_disk]


def test_floors_that_promise_too_much_are_told(gpus: SharedGpus) -> None:
    """A promise that cannot be kept is said, once, and shown."""
    gpus.run(2.0)
    gpus.memories[FIRST].used_bytes = 3800
    gpus.run(6.0)
    status = gpus.status_of(FIRST)
    said = {line.split()[0] for line in gpus.log if "floors of the services promise" in line}

    assert status is not None
    assert status.overdraft_bytes > 0
    assert 1 == len(said)


def test_slow_leak_divides_budgets_anew_only_now_and_then(gpus: SharedGpus) -> None:
    """A neighbour that grows with every reading does not change every budget with every reading."""
    for step in range(100):
        gpus.memories[SECOND].used_bytes = 500 + step * 5
        gpus.run(1.0)
    anew = [one for one in service(gpus, "d").directives if one.reason == "budgets were divided anew"]

    assert len(anew) <= 8


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("others"), st.sampled_from([FIRST, SECOND]), st.integers(min_value=0, max_value=4000)),
        st.tuples(st.just("use"), st.sampled_from(sorted(HOMES)), st.sampled_from(sorted(SIZES))),
        st.tuples(st.just("claim"), st.sampled_from(sorted(HOMES)), st.sampled_from(sorted(SIZES))),
        st.tuples(st.just("up"), st.sampled_from(sorted(HOMES)), st.booleans()),
        st.tuples(st.just("slow"), st.booleans()),
        st.tuples(st.just("ticks"), st.integers(min_value=1, max_value=12)),
    ),
    min_size=5,
    max_size=40,
)


def do_and_check(machine: SharedGpus, step: tuple[object, ...]) -> None:
    """Let something happen; what the daemon does about it is checked with every tick."""
    match step:
        case "others", str(device), int(used_bytes):
            machine.memories[DeviceId(device)].used_bytes = used_bytes
        case "use", str(name), str(module):
            machine.use(service(machine, name), ModuleName(module))
        case "claim", str(name), str(module):
            claims = 1 - service(machine, name).modules[ModuleName(module)].claims
            machine.claim(service(machine, name), ModuleName(module), claims=claims)
        case "up", str(name), bool(up):
            one = service(machine, name)
            if up and not one.up:
                # Coming back is a new reign: versions begin anew.
                one.epoch, one.version, one.placements, one.directives = one.epoch + 1, 0, (), []
            one.up = up
        case "slow", bool(slow):
            machine.comes_home = not slow
        case "ticks", int(ticks):
            for _ in range(ticks):
                check_tick(machine)


def check_tick(machine: SharedGpus) -> None:
    """Let the daemon tick, and check what it did on every device."""
    machine.clock.advance(0.6)
    before = {name: leaving(one) for name, one in machine.found.items() if one.up}
    held = {device: [view_of(one) for one in machine.on(device)] for device in machine.memories}
    machine.tick()
    for device, views in held.items():
        check_budgets(machine, device, views)
        assert len(machine.called_home(device)) <= 1
    for name, one in machine.found.items():
        if one.up and leaving(one) - before.get(name, set()):
            staying = [status for status in one.modules.values() if status.at_home]
            staying_bytes = sum(status.home_bytes for status in staying if status.module not in leaving(one))
            assert staying_bytes >= (FLOOR_BYTES if name == "b" else 0)


def leaving(one: WorldService) -> set[ModuleName]:
    """Return the modules that a directive sends away."""
    return {placement.module for placement in one.placements if placement.tier > Tier.DEVICE}


def view_of(one: WorldService) -> ServiceView:
    """Return a service as a decision sees it."""
    return ServiceView(
        service=one.name,
        instance_id="",
        tier=Tier.DEVICE,
        report=replace(EMPTY, modules=tuple(one.modules.values())),
        floor_bytes=FLOOR_BYTES if one.name == "b" else 0,
    )


def check_budgets(machine: SharedGpus, device: DeviceId, views: list[ServiceView]) -> None:
    """Check that what is handed out fits, or is what the floors alone promise."""
    status = machine.status_of(device)
    if status is None or len(views) < 2 or not isinstance(status.sample, MemorySample):
        return
    claims = tuple(claim_of(view, status.sample.unix_seconds, 600.0) for view in views)
    pool = pool_bytes(claims, free_bytes=status.sample.free_bytes, critical_bytes=MARKS.critical_bytes)
    floors = sum(claim.floor_bytes for claim in claims)

    assert {claim.service for claim in claims} == set(status.budgets)
    assert sum(status.budgets.values()) <= max(pool, floors)
    assert all(status.budgets[claim.service] >= claim.floor_bytes for claim in claims)
    assert status.overdraft_bytes == max(0, floors - pool)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS)
def test_any_course_keeps_sums_floors_and_one_restore_at_a_time(steps: list[tuple[object, ...]]) -> None:
    """Budgets fit into what is there, floors hold, and no device has two ordered restores under way."""
    with TemporaryDirectory() as folder:
        machine = made(Path(folder))
        for step in [*steps, ("ticks", 3)]:
            do_and_check(machine, step)


@settings(deadline=None, max_examples=15)
@given(steps=STEPS)
def test_any_course_on_one_gpu_leaves_the_other_alone(steps: list[tuple[object, ...]]) -> None:
    """What happens on the first GPU only is not seen on the second: no module moves there."""
    here = [step for step in steps if not (step[0] in {"use", "claim", "up"} and HOMES[str(step[1])] == SECOND)]
    with TemporaryDirectory() as folder:
        machine = made(Path(folder))
        for step in [step for step in here if step[:2] != ("others", SECOND)]:
            do_and_check(machine, step)

    assert all(status.at_home for one in machine.on(SECOND) for status in one.modules.values())
