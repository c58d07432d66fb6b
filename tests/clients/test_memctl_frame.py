"""One frame of `memctl top`, on every terminal."""

import io
import os
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest
from rich.console import Console

from greenroom.memory.v1 import policy_pb2, residency_pb2
from memctl.bars import ASCII, BLOCKS
from memctl.frame import fit, frame
from memctl.line import Glimpse, Line, back_off_seconds, line_lost, patience_with
from memctl.policy_wire import status_of
from memctl.service_frame import Canvas
from memctl.tables import Reader
from memctl.types import Freeze, MemoryPoint, ModuleState, Override, OverrideKind, Status
from tests.fakes.fake_governed_service import FakeService
from tests.fakes.fake_policy_rules import timestamp
from tests.fakes.fake_policy_service import HOLDER, FakeDaemon
from tests.fakes.manual_clock import ManualClock

FRAMES = Path(__file__).parent / "memctl_frames"
NOW = 1_763_000_000.0
READER = Reader(now_unix_seconds=NOW, zone=UTC)
SIZES = [(80, 24), (200, 60)]
GIB = 2**30
USAGE = residency_pb2.DeviceUsage(
    reserved_bytes=2 * GIB,
    allocated_bytes=2 * GIB - 300 * 2**20,
    arena_bytes=GIB,
    scratch_bytes=200 * 2**20,
    context_bytes=423 * 2**20,
)


def daemon() -> FakeDaemon:
    """Return a daemon in the middle of its work: low on memory, a module away, a move that waits."""
    clock = ManualClock(NOW)
    service = FakeService(clock=clock, governor=HOLDER)
    service.move("watermark.detector", 3, 2)
    service.module("voice").leases = 1
    service.module("voice").claims = 2
    service.report.pending_moves.add(module="voice", tier=3, reason="leased")
    service.report.accepted_version = service.report.applied_version = 12
    one = FakeDaemon(service, clock=clock)
    one.free_bytes = 700 * 2**20
    one.decisions = [
        policy_pb2.Decision(
            time=timestamp(NOW - 10 * step),
            service="default",
            version=12 - step,
            reason="700 MiB free, below low (819 MiB) for 1 s: give back 529 MiB",
            evict=["watermark.detector"] if step % 2 == 0 else [],
            restore=["watermark.detector"] if step % 2 else [],
        )
        for step in range(12)
    ]
    return one


def status() -> Status:
    """Return that daemon's status, with an operator's override on a module and one on a service that is not there."""
    overrides = (override("default", "watermark.detector", NOW + 540), override("gpu-1", "t3", None))
    return replace(status_of(daemon().status()), overrides=overrides)


def override(service: str, module: str, ends: float | None) -> Override:
    """Return an override."""
    return Override(
        service=service, module=module, kind=OverrideKind.EVICT, expire_unix_seconds=ends, set_by="ann@desk"
    )


def fallen() -> tuple[MemoryPoint, ...]:
    """Return two minutes in which memory fell from 6 GiB to what it is now."""
    levels = [*[6 * GIB] * 60, *[GIB] * 30, *[700 * 2**20] * 31]
    return tuple(
        MemoryPoint(device="host", unix_seconds=NOW - 120 + at, total_bytes=8 * GIB, free_bytes=level)
        for at, level in enumerate(levels)
    )


def drawn(
    shown: Status,
    canvas: Canvas,
    line: Line | None = None,
    age_seconds: float = 0.0,
    points: tuple[MemoryPoint, ...] = (),
) -> list[str]:
    """Return the lines of a frame as a terminal of that width shows them."""
    glimpse = Glimpse(status=shown, received_unix_seconds=NOW - age_seconds, line=line or Line(), points=points)
    file = io.StringIO()
    Console(file=file, width=canvas.width, height=canvas.height or 25, color_system=None).print(
        frame(glimpse, READER, canvas)
    )
    return [text.rstrip() for text in file.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_frame_scenario_looks_as_it_was_agreed(width: int, height: int) -> None:
    """A frame looks as in its file, which `make scenarios` rewrites."""
    lines = drawn(status(), Canvas(width=width, height=height), points=fallen())
    path = FRAMES / f"{width}x{height}.txt"
    if os.environ.get("REWRITE_SCENARIOS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")

    assert path.read_text().splitlines() == lines


@pytest.mark.parametrize("height", [12, 16, 20, 24, 60])
@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_frame_never_outgrows_its_terminal(width: int, height: int) -> None:
    """Every line fits the width and, from sixteen lines on, all lines fit the height, with all that there can be."""
    one = daemon()
    one.services[0].report.device.CopyFrom(USAGE)
    shown = replace(status_of(one.status()), overrides=status().overrides)
    lines = drawn(shown, Canvas(width=width, height=height), points=fallen())

    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, 16)


def test_frame_on_a_tall_terminal_shows_every_module_and_decision() -> None:
    """Where there is room nothing is left out."""
    lines = drawn(status(), Canvas(width=200, height=60))

    assert {"voice", "watermark.encoder", "watermark.detector"} <= {text.split(" ")[0] for text in lines if text}
    assert 12 == sum("give back 529 MiB" in text for text in lines)


def test_frame_on_a_short_terminal_counts_what_it_leaves_out() -> None:
    """Decisions give way first, down to three; then modules, which are counted."""
    lines = drawn(status(), Canvas(width=80, height=16))

    assert "DECISIONS, 3 of 12" in lines
    assert "  2 more modules" in lines


def test_rows_go_to_services_in_order() -> None:
    """The first service keeps its modules longest, and nothing gets less than no row."""
    one = status()
    two = replace(one, services=(*one.services, replace(one.services[0], service="other")))

    assert [(3, 3), (3, 1), (0, 0)] == [fit(two, 5, height).modules for height in (60, 25, 10)]


def test_frame_without_a_height_folds_nothing_away() -> None:
    """A frame for a script has every line in full."""
    lines = drawn(status(), Canvas(width=80, height=None))

    assert 12 == " ".join(lines).count("give back 529 MiB")


def test_frame_of_a_daemon_that_is_gone_says_so_and_keeps_what_was_seen() -> None:
    """While the line is down, the frame tells why, since when and how often it dialled, above the last known state."""
    line = Line(down_unix_seconds=NOW - 4, cause="Nobody listens there.", attempts=3)
    lines = drawn(status(), Canvas(width=140, height=40), line, age_seconds=5)

    assert "No daemon, dialling again (3); last seen 5 s ago. Nobody listens there." == lines[1]
    assert any(text.startswith("voice") for text in lines)


def test_frame_of_a_daemon_that_says_nothing_tells_its_age() -> None:
    """A status that is older than a daemon's usual second is told to be."""
    assert "as of 9 s ago" in drawn(status(), Canvas(width=80, height=24), age_seconds=9)[0]
    assert "ago" not in drawn(status(), Canvas(width=80, height=24), age_seconds=2)[0]


def test_frame_of_memory_that_cannot_be_read_tells_the_error() -> None:
    """Without a reading there is no bar, but the reason."""
    one = daemon()
    one.read_error = "GPU is lost"
    lines = drawn(status_of(one.status()), Canvas(width=80, height=24))

    assert "host       cannot be read: GPU is lost" in lines


def test_frame_shows_overrides_where_they_work_and_those_that_do_nowhere() -> None:
    """A module's override stands beside it with its time; one for a module nobody reports has a line of its own."""
    lines = drawn(status(), Canvas(width=140, height=40))

    assert any(text.startswith("watermark.detector") and text.endswith("evict 9 min") for text in lines)
    assert "override of gpu-1/t3: evict" in lines


def test_frame_shows_a_move_that_waits_and_a_module_that_moves() -> None:
    """A pending move tells its reason; a module that does not rest tells what it does."""
    one = status()
    report = one.services[0].report
    assert report is not None
    broken = replace(report.modules[1], state=ModuleState.BROKEN)
    service = replace(one.services[0], report=replace(report, modules=(report.modules[0], broken)))
    lines = drawn(replace(one, services=(service,)), Canvas(width=140, height=40))

    assert any(text.startswith("voice") and "to disk: leased" in text for text in lines)
    assert any(text.startswith("watermark.encoder") and "host broken" in text for text in lines)


def test_frame_of_a_service_that_is_not_governed_says_why() -> None:
    """A service without a report still has its line."""
    one = FakeDaemon(FakeService(), clock=ManualClock(NOW))
    lines = drawn(status_of(one.status()), Canvas(width=80, height=24))

    assert "default  connecting  directive -" in lines
    assert "  no report yet" in lines
    assert "no decisions yet" in lines


def test_frame_of_a_rehearsal_says_that_nothing_moves() -> None:
    """Dry run stands in the first line."""
    one = daemon()
    one.policy.dry_run = True

    assert "DRY RUN: nothing moves" in drawn(status_of(one.status()), Canvas(width=80, height=24))[0]


def test_frame_of_a_frozen_daemon_says_so_with_its_end() -> None:
    """A freeze stands in the first line, with how long it holds and whose it is, however long the daemon's name is."""
    freeze = Freeze(start_unix_seconds=NOW - 60, expire_unix_seconds=NOW + 540, set_by="ann")

    holder_id = "memory-daemon-0fd46dc2-3a49-454f-87d5-da68340713de"
    head = drawn(replace(status(), freeze=freeze, holder_id=holder_id), Canvas(width=80, height=24))[0]

    assert head.startswith("memory-daemon-0fd46dc2  FROZEN for 9 min by ann")


def test_frame_of_a_rehearsed_decision_has_no_version() -> None:
    """What was not sent has no number, and says so."""
    one = status()
    rehearsed = replace(one.decisions[0], dry_run=True)
    lines = drawn(replace(one, decisions=(rehearsed,)), Canvas(width=80, height=24))

    assert any("default dry run  evict" in line for line in lines)


def test_frame_tells_what_a_service_holds_of_its_device() -> None:
    """Torch's cache, arenas, the graphs' memory and the context, each by itself."""
    one = daemon()
    one.services[0].report.device.CopyFrom(USAGE)
    lines = drawn(status_of(one.status()), Canvas(width=120, height=40))

    assert "  device torch 2.0 GiB, 300 MiB of it cached  arenas 1.0 GiB  graphs 200 MiB  context 423 MiB" in lines


def test_frame_marks_the_module_that_keys_act_on() -> None:
    """The chosen module stands out in its table."""
    canvas = Canvas(width=120, height=40, selected=("default", "voice"))
    file = io.StringIO()
    Console(file=file, width=120, height=40, force_terminal=True, color_system="standard").print(
        frame(Glimpse(status=status(), received_unix_seconds=NOW, line=Line()), READER, canvas)
    )
    reversed_lines = [line for line in file.getvalue().splitlines() if "\x1b[7m" in line]

    assert ["voice"] == [line.split("voice")[0].replace("\x1b[7m", "") + "voice" for line in reversed_lines]


def test_frame_without_block_characters_is_ascii() -> None:
    """A terminal that knows only ASCII gets a bar that it can show."""
    bar = next(
        text for text in drawn(status(), Canvas(width=80, height=24, glyphs=ASCII)) if text.startswith("host       ")
    )

    assert bar.isascii()
    assert "#" in bar


def test_frame_fits_the_smallest_terminal() -> None:
    """Even on a terminal of twenty columns a frame is drawn."""
    assert drawn(status(), Canvas(width=20, height=10, glyphs=BLOCKS))


def test_line_remembers_when_it_broke_and_counts_the_dials() -> None:
    """The first break sets the time; each failed dial counts one more, with the newest cause."""
    once = line_lost(Line(), "gone", 10.0)

    assert Line(down_unix_seconds=10.0, cause="refused", attempts=2) == line_lost(once, "refused", 12.0)


def test_back_off_doubles_up_to_its_limit() -> None:
    """Dials come soon at first, and every few seconds at last, however long it takes."""
    assert [0.25, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0] == [
        back_off_seconds(attempts) for attempts in (0, 1, 2, 3, 4, 5, 6, 10_000)
    ]


def test_patience_grows_with_the_daemons_longest_period() -> None:
    """A daemon that samples once a minute may be silent for a minute, and the time of an answer."""
    one = daemon()
    one.policy.maximum_period.FromSeconds(60)

    assert 65.0 == patience_with(status_of(one.status()), 5.0)
