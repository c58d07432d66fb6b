"""`memctl services` and `memctl report`, and the picture that a report draws."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from greenroom.memory.v1 import residency_pb2
from memctl.plot import picture, spans, unit_of
from memctl.report_types import MemoryReport, MemorySample, Phase
from memctl.residency_wire import memory_report_of
from tests.fakes.fake_governed_service import MIB, FakeService
from tests.fakes.fake_policy_rules import timestamp
from tests.fakes.memctl_desk import Desk
from tests.fakes.memctl_desk import desk as open_desk

START = 1_763_000_000
PHASES = [*["PHASE_STARTING"] * 2, *["PHASE_IDLE"] * 5, "PHASE_MOVING", *["PHASE_SPEAKING"] * 4, *["PHASE_IDLE"] * 3]
PNG = b"\x89PNG\r\n\x1a\n"


def used(phases: list[str] = PHASES) -> residency_pb2.GetMemoryReportResponse:
    """Return a report with one sample a second through these phases."""
    samples = [
        residency_pb2.MemorySample(
            time=timestamp(START + second),
            phase=residency_pb2.Phase.Value(phase),
            process_bytes=(400 + second) * MIB,
            home_bytes=(112 if phase == "PHASE_IDLE" else 312) * MIB,
        )
        for second, phase in enumerate(phases)
    ]
    return residency_pb2.GetMemoryReportResponse(
        samples=samples,
        phases=[
            residency_pb2.PhaseUsage(
                phase=residency_pb2.PHASE_IDLE,
                samples=8,
                average_process_bytes=404 * MIB,
                peak_process_bytes=414 * MIB,
                average_home_bytes=112 * MIB,
                peak_home_bytes=112 * MIB,
            ),
            residency_pb2.PhaseUsage(phase=residency_pb2.PHASE_SPEAKING, samples=4, average_home_bytes=312 * MIB),
        ],
        peak_process_bytes=414 * MIB,
        peak_home_bytes=312 * MIB,
        average_home_bytes=205 * MIB,
        all_home_bytes=312 * MIB,
        efficiency=0.343,
        restores=4,
        evictions=5,
        restored_bytes=800 * MIB,
        released_bytes=1_000 * MIB,
    )


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk whose service has used memory for a while."""
    with open_desk() as one:
        one.service.memory_report = used()
        yield one


def test_services_lists_what_the_daemon_knows_and_what_only_has_a_socket(desk: Desk) -> None:
    """A service that the daemon has not found yet is listed too."""
    desk.serve_daemon()
    desk.serve_service()
    desk.serve_service(FakeService("lonely"))
    rows = [line.split() for line in desk.type("services", columns=140).out.splitlines()]

    assert ["default", "epoch", "3", "host", "-", "312", "MiB", "of", "400", "MiB", "1.2", "GiB", "2"] in rows
    assert ["lonely", "unknown", "to", "the", "daemon", *["-"] * 5] in rows


def test_services_as_json_has_both_lists(desk: Desk) -> None:
    """The document has the daemon's services, the sockets by name, and whether there is a daemon."""
    desk.serve_daemon()
    desk.serve_service()
    told = desk.type("services", "--json").document

    assert (True, ["default"]) == (told["daemon"], [one["service"] for one in told["services"]])
    assert {"default": str(desk.service_socket("default"))} == told["sockets"]


def test_services_without_a_daemon_lists_sockets_and_says_so(desk: Desk) -> None:
    """The sockets are still there to be listed; that no daemon runs is said beside them."""
    desk.serve_service()
    answer = desk.type("services", "--json")

    assert (0, False, ["default"]) == (answer.exit_code, answer.document["daemon"], list(answer.document["sockets"]))
    assert "No memory daemon is running here" in answer.err


def test_services_with_neither_daemon_nor_sockets_cannot_reach_anybody(desk: Desk) -> None:
    """Where nothing runs at all, the command says what to start."""
    answer = desk.type("services")

    assert 3 == answer.exit_code
    assert "`memory-daemon`" in answer.err


def test_report_tells_phases_peaks_averages_efficiency_and_moves(desk: Desk) -> None:
    """Everything that the service measured is in the tables, without a daemon."""
    desk.serve_service()
    shown = desk.type("report").out
    rows = [line.split() for line in shown.splitlines()]

    assert ["idle", "8", "67%", "404", "MiB", "414", "MiB", "112", "MiB", "112", "MiB"] in rows
    assert all(
        words in shown
        for words in (
            "12 samples",
            "average 205 MiB, peak 312 MiB, of 312 MiB had all stayed",
            "34.3% not held",
            "4 times, 800 MiB",
            "5 times, 1000 MiB given back",
            "watermark.detector",
        )
    )


def test_report_as_json_has_every_sample(desk: Desk) -> None:
    """The document has samples, phases and modules with units in their keys."""
    desk.serve_service()
    told = desk.type("report", "--json").document

    assert {"service", "report", "plot"} == set(told)
    assert (15, 2, 3, 0.343) == (
        len(told["report"]["samples"]),
        len(told["report"]["phases"]),
        len(told["report"]["modules"]),
        told["report"]["efficiency"],
    )
    assert {
        "unix_seconds": START,
        "phase": "starting",
        "process_bytes": 400 * MIB,
        "home_bytes": 312 * MIB,
        "device_bytes": None,
    } == told["report"]["samples"][0]


def test_report_takes_the_newest_samples_only(desk: Desk) -> None:
    """--samples bounds what is fetched, and wrong bounds are wrong usage."""
    desk.serve_service()
    told = desk.type("report", "--samples", "2", "--json").document

    assert [START + 13, START + 14] == [one["unix_seconds"] for one in told["report"]["samples"]]
    assert [2, 2] == [desk.type("report", "--samples", count).exit_code for count in ("0", "10001")]


def test_report_of_a_service_that_just_began_is_empty_but_whole(desk: Desk) -> None:
    """Without samples there is no table of phases, and no division by zero."""
    desk.service.memory_report = residency_pb2.GetMemoryReportResponse()
    desk.serve_service()
    answer = desk.type("report")

    assert 0 == answer.exit_code
    assert "No samples yet." in answer.out


def test_report_of_a_number_that_is_none_is_null(desk: Desk) -> None:
    """JSON knows no NaN, so a number that is none becomes null instead of breaking the reader."""
    desk.service.memory_report.efficiency = float("nan")
    desk.serve_service()

    assert desk.type("report", "--json").document["report"]["efficiency"] is None


@pytest.mark.parametrize(("suffix", "begin"), [("png", PNG), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_report_draws_a_picture(desk: Desk, tmp_path: Path, suffix: str, begin: bytes) -> None:
    """--plot writes a picture of the kind that the file's name says, and tells where."""
    desk.serve_service()
    path = tmp_path / f"memory.{suffix}"
    answer = desk.type("report", "--plot", str(path), "--json")

    assert (0, str(path)) == (answer.exit_code, answer.document["plot"])
    assert path.read_bytes().startswith(begin)


@pytest.mark.parametrize("name", ["memory.xyz", "no/such/folder/memory.png"])
def test_report_that_cannot_draw_says_why(desk: Desk, tmp_path: Path, name: str) -> None:
    """An unknown kind of file and a folder that is not there are told, and nothing is left behind."""
    desk.serve_service()
    answer = desk.type("report", "--plot", str(tmp_path / name))

    assert 1 == answer.exit_code
    assert "cannot be written" in answer.err
    assert [] == list(tmp_path.iterdir())


def test_report_without_the_drawing_library_says_what_to_install(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matplotlib is an extra: where it is missing, --plot says so and the rest works."""
    monkeypatch.setitem(sys.modules, "memctl.plot", None)
    desk.serve_service()

    assert "greenroom[client]" in desk.type("report", "--plot", str(tmp_path / "memory.png")).err
    assert 0 == desk.type("report").exit_code


def test_report_of_an_absent_service_names_its_socket(desk: Desk) -> None:
    """When the service does not run, the words tell where it was looked for and how to start it."""
    answer = desk.type("report", "--service", "gpu-1")

    assert 3 == answer.exit_code
    assert "services/gpu-1.sock" in answer.err
    assert "`tts-service`" in answer.err


def report(phases: list[str] = PHASES) -> MemoryReport:
    """Return the same report as a value."""
    return memory_report_of(used(phases))


def test_picture_shows_both_lines_in_round_units() -> None:
    """The picture has the process and the modules over time, counted in the unit of its axis."""
    figure = picture(report(), "default")
    lines = {line.get_label(): list(map(float, line.get_ydata())) for axes in figure.axes for line in axes.get_lines()}

    assert [400.0 + second for second in range(15)] == lines["process"]
    assert [312.0, 312.0, 112.0] == lines["modules at home"][:3]


def test_picture_names_the_service_and_its_figures() -> None:
    """Title and subtitle tell whose memory it is and what was saved."""
    words = " ".join(text.get_text() for axes in picture(report(), "gpu-1").axes for text in axes.texts)

    assert all(part in words for part in ("Memory of service gpu-1", "efficiency 34%", "peak 414 MiB", "312 MiB"))


def test_picture_shades_and_names_only_the_phases_that_were() -> None:
    """The legend has both lines and the phases in the report, no others."""
    legend = picture(report(["PHASE_IDLE", "PHASE_SPEAKING"]), "default").axes[0].get_legend()
    assert legend is not None

    assert ["process", "modules at home", "idle", "speaking"] == [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("phases", [[], ["PHASE_IDLE"]])
def test_picture_of_next_to_nothing_is_still_drawn(phases: list[str], tmp_path: Path) -> None:
    """No sample, or a single one, makes a picture too."""
    picture(report(phases), "default").savefig(tmp_path / "memory.png")

    assert (tmp_path / "memory.png").stat().st_size > 1_000


def test_picture_of_a_gpu_counts_in_gib() -> None:
    """The axis changes its unit where the numbers would grow long."""
    assert [("MiB", 2**20), ("GiB", 2**30)] == [unit_of(2**30), unit_of(2**31)]


def test_phases_last_until_the_next_begins() -> None:
    """Neighbouring samples of one phase are one span, and spans leave no gap."""
    samples = report().samples
    found = spans(samples)

    assert [Phase.STARTING, Phase.IDLE, Phase.MOVING, Phase.SPEAKING, Phase.IDLE] == [phase for _, _, phase in found]
    assert [end for _, end, _ in found[:-1]] == [start for start, _, _ in found[1:]]
    assert (START, START + 14) == (found[0][0], found[-1][1])


def test_phases_of_one_sample_are_one_moment() -> None:
    """A single sample lasts for no time, and none makes no phase."""
    one = MemorySample(unix_seconds=5.0, phase=Phase.IDLE, process_bytes=1, home_bytes=1)

    assert [(5.0, 5.0, Phase.IDLE)] == spans([one])
    assert (5.0, 6.0, Phase.IDLE) == spans([one, replace(one, unix_seconds=6.0)])[0]
