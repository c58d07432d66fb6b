"""What the real processes export: what has happened is there, a scrape disturbs nobody, and it can be switched off."""

import re
import socket
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from tests.fakes.daemon_process import DaemonProcess
from tests.fakes.metered import daemon_metrics, labels_by_name, service_metrics
from tools.both import Both

WORDS = "Leave quietly, and return quickly. Nobody shall notice that you were away."
SAMPLE_RATE_HERTZ = 24_000


def address_in(log: str) -> str:
    """Return where a process says in its log that its metrics are; empty if it says nothing."""
    found = re.search(r"http://[^\s\"]+/metrics", log)
    return found[0] if found else ""


def service_address(both: Both) -> str:
    """Return where the service's metrics are."""
    return address_in((both.folder / "tts_service.log").read_text())


def daemon_address(both: Both) -> str:
    """Return where the daemon's metrics are."""
    return address_in((both.folder / "memory_daemon.log").read_text())


def scraped(address: str) -> dict[str, dict[str, float]]:
    """Scrape; return by name the values by labels."""
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  # A loopback address of our own.
        text = answer.read().decode()
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[" ".join(sample.labels.values())] = sample.value
    return found


def total(found: dict[str, dict[str, float]], name: str) -> float:
    """Return the sum of a metric's series."""
    return sum(found.get(name, {}).values())


def speak(both: Both) -> bytes:
    """Speak with a fixed seed; return the samples."""
    with grpc.insecure_channel(both.speech_address) as channel:
        stub = tts_pb2_grpc.TextToSpeechServiceStub(channel)
        asked = pb.SynthesizeRequest(text=WORDS, config=pb.SessionConfig(sampling=pb.Sampling(seed=5)))
        return b"".join(response.audio.data for response in stub.Synthesize(asked, timeout=60))


def test_spoken_utterance_is_counted(both: Both) -> None:
    """Its audio, its waits and its steps are there with the next scrape."""
    before = scraped(service_address(both))
    audio = speak(both)
    after = scraped(service_address(both))
    names = ("greenroom_first_audio_seconds_count", "greenroom_queue_wait_seconds_count")
    seconds = total(after, "greenroom_audio_seconds_total") - total(before, "greenroom_audio_seconds_total")

    assert [1.0, 1.0] == [total(after, name) - total(before, name) for name in names]
    assert round(len(audio) / 2 / SAMPLE_RATE_HERTZ, 3) == round(seconds, 3)
    assert total(after, "greenroom_step_seconds_count") > total(before, "greenroom_step_seconds_count")


def test_refused_call_and_detection_are_counted_by_what_the_client_was_told(both: Both) -> None:
    """A reason of the wire and a verdict are labels; what the client sent is none."""
    before = scraped(service_address(both))
    upload = [
        pb.DetectWatermarkRequest(audio_format=pb.AudioFormat()),
        pb.DetectWatermarkRequest(content=bytes(96_000)),
    ]
    with grpc.insecure_channel(both.speech_address) as channel:
        stub = tts_pb2_grpc.TextToSpeechServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            list(stub.Synthesize(pb.SynthesizeRequest(text=""), timeout=60))
        verdict = stub.DetectWatermark(iter(upload), timeout=60).verdict
    after = scraped(service_address(both))
    detections = "greenroom_watermark_detections_total"

    assert pb.WATERMARK_VERDICT_SILENT == verdict
    assert 1.0 == after["greenroom_errors_total"]["BAD_CONFIG"] - before["greenroom_errors_total"]["BAD_CONFIG"]
    assert 1.0 == after[detections]["silent"] - before.get(detections, {}).get("silent", 0.0)


def test_every_move_is_counted_as_it_is_made(both: Both) -> None:
    """On a CPU each move is a restore or an eviction, and the service's own tallies are of the same ones."""

    def agree() -> bool:
        found = scraped(service_address(both))
        tallies = ("greenroom_module_restores_total", "greenroom_module_evictions_total")
        moves = total(found, "greenroom_move_seconds_count")
        return moves > 0 and moves == sum(total(found, name) for name in tallies)

    # A scrape may fall between a move and its tally; the next one does not.
    assert any(agree() for _ in range(5))


def test_state_is_told_by_both_processes(both: Both) -> None:
    """The service serves and is governed; the daemon governs it and reads memory, on time."""
    service, daemon = scraped(service_address(both)), scraped(daemon_address(both))

    assert (1.0, 1.0, 1.0) == (
        total(service, "greenroom_serving"),
        total(service, "greenroom_governed"),
        daemon["greenroom_daemon_link_state"]["default governing"],
    )
    assert daemon["greenroom_daemon_memory_free_bytes"]["host"] > 0
    assert daemon["greenroom_daemon_tick_seconds_count"][""] > 0
    assert total(service, "process_resident_memory_bytes") > total(daemon, "process_resident_memory_bytes") > 0


def test_real_processes_export_nothing_that_dashboards_do_not_know_of(both: Both, tmp_path: Path) -> None:
    """The names that dashboards and alerts are checked against are those of the real processes."""
    speak(both)
    for address, known in (
        (service_address(both), service_metrics().registry),
        (daemon_address(both), daemon_metrics(tmp_path).registry),
    ):
        unknown = {name for name in scraped(address) if not name.startswith("process_")} - labels_by_name(known).keys()

        assert set() == unknown


def test_flood_of_scrapes_changes_nothing_that_is_heard(both: Both) -> None:
    """While some scrape as fast as they can and others hold connections open, speech has the same samples."""
    expected = speak(both)
    place = urlsplit(service_address(both))
    stop = threading.Event()
    answered: list[int] = []

    def flood() -> None:
        while not stop.is_set():
            try:
                answered.append(len(scraped(service_address(both))))
            except OSError:
                continue

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with _silent(place.netloc):
            actual = speak(both)
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)

    assert answered
    assert expected == actual


def test_daemon_without_metrics_answers_no_scrape(tmp_path: Path) -> None:
    """One flag switches them off, and everything else goes on."""
    daemon = DaemonProcess(tmp_path, "--memory", "host", "--no-metrics")
    try:
        daemon.start()
        etag = daemon.policy().etag
        code = daemon.end()
    finally:
        daemon.close()

    assert etag
    assert (0, []) == (code, [event for event in daemon.events if event["event"].startswith("metrics")])


def test_daemon_whose_metrics_address_is_taken_goes_on_without(tmp_path: Path) -> None:
    """It says so with the way out, and watches memory all the same."""
    first = DaemonProcess(tmp_path / "first", "--memory", "host")
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    try:
        first.start()
        taken = urlsplit(first.wait_for_event("metrics_served")["url"]).netloc
        second = DaemonProcess(tmp_path / "second", "--memory", "host", "--metrics-address", taken)
        try:
            second.start()
            told = second.wait_for_event("metrics_unavailable")
            etag = second.policy().etag
        finally:
            second.close()
    finally:
        first.close()

    assert etag
    assert taken == told["address"]
    assert "metrics.address" in told["way_out"]


def _silent(netloc: str) -> socket.socket:
    """Connect and say nothing."""
    host, _, port = netloc.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)
