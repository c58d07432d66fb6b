"""What the service counts of speech, and tells of where modules are."""

import asyncio
from dataclasses import replace

from tests.fakes.fake_residency_manager import FakeResidencyManager
from tests.fakes.metered import CANCELLED, CHUNK, CONFIG, DONE, FAILED, device_report, service_metrics, values
from tts_service.config import ServiceConfig
from tts_service.errors import Reason
from tts_service.metrics import LoopPulse, Metrics
from tts_service.residency.types import WaitingUsage
from tts_service.speech import protocol


def fresh() -> Metrics:
    """Return metrics of a service in which nothing has happened."""
    return Metrics(ServiceConfig(), version="1.2.3", is_serving=lambda: False)


def test_utterance_done_counts_what_its_listener_waited_for() -> None:
    """First audio, queue, real-time ratio and underruns come from the figures that the client is told."""
    metrics = fresh()
    metrics.speech.said(DONE, CONFIG)
    found = values(metrics.registry)

    assert (1.0, 0.09, 0.02, 0.3, 2.0, 13.0, 1.0) == (
        found['greenroom_utterances_total{model="english",outcome="complete"}'],
        found['greenroom_first_audio_seconds_sum{model="english"}'],
        found['greenroom_queue_wait_seconds_sum{model="english"}'],
        found['greenroom_real_time_ratio_sum{model="english"}'],
        found['greenroom_underruns_total{model="english"}'],
        found['greenroom_speech_tokens_total{model="english"}'],
        found['greenroom_guarded_segments_total{guard="loop",model="english"}'],
    )


def test_empty_utterance_is_no_first_audio() -> None:
    """An utterance with nothing to say must not make the waits look short."""
    metrics = fresh()
    metrics.speech.said(replace(DONE, finish_reason=protocol.FinishReason.EMPTY), CONFIG)
    found = values(metrics.registry)

    assert 1.0 == found['greenroom_utterances_total{model="english",outcome="empty"}']
    assert 'greenroom_first_audio_seconds_count{model="english"}' not in found


def test_audio_is_counted_in_seconds_at_its_own_rate() -> None:
    """Half a second at 24 kHz is half a second."""
    metrics = fresh()
    metrics.speech.said(CHUNK, CONFIG)
    found = values(metrics.registry)

    assert (0.5, 24_000.0) == (
        found['greenroom_audio_seconds_total{model="english"}'],
        found['greenroom_audio_bytes_total{model="english"}'],
    )


def test_failed_and_cancelled_utterances_are_told_apart() -> None:
    """A failure counts with its reason; a cancel of what was done already is no cancel."""
    metrics = fresh()
    for message in (FAILED, replace(FAILED, closed=False), CANCELLED, replace(CANCELLED, already_done=True)):
        metrics.speech.said(message, CONFIG)
    found = values(metrics.registry)

    assert (1.0, 1.0, 2.0) == (
        found['greenroom_utterances_total{model="english",outcome="failed"}'],
        found['greenroom_utterances_total{model="english",outcome="cancelled"}'],
        found['greenroom_errors_total{reason="DEVICE_MEMORY"}'],
    )


def test_every_reason_is_there_before_its_first_error() -> None:
    """An alert on a rate sees the first error only if the counter was there with 0."""
    found = values(fresh().registry)

    assert {0.0} == {found[f'greenroom_errors_total{{reason="{reason.value}"}}'] for reason in Reason}


def test_expected_models_are_there_before_their_first_utterance() -> None:
    """An alert on underruns sees the first one only if the counter was there with 0."""
    metrics = fresh()
    metrics.watch(FakeResidencyManager().report, ["turbo"])
    found = values(metrics.registry)

    assert (0.0, 0.0) == (
        found['greenroom_underruns_total{model="turbo"}'],
        found['greenroom_utterances_total{model="turbo",outcome="failed"}'],
    )


def test_modules_are_told_as_the_report_has_them() -> None:
    """Each module is in one tier and one state, and what is not known is left out."""
    metrics = fresh()
    metrics.watch(FakeResidencyManager().report, [])
    found = values(metrics.registry)

    assert (1.0, 0.0, 1.0) == (
        found['greenroom_module_tier{module="voice",tier="host"}'],
        found['greenroom_module_tier{module="voice",tier="disk"}'],
        found['greenroom_module_state{module="voice",state="resting"}'],
    )
    assert [] == [name for name in found if name.startswith(("greenroom_device_bytes", "greenroom_budget_bytes"))]


def test_device_is_told_where_there_is_one() -> None:
    """What the process holds of its GPU, its budget, and the median of its moves."""
    metrics = fresh()
    metrics.watch(device_report, [])
    found = values(metrics.registry)

    assert (6.0, 20.0, 1 << 30, 0.02, 1.0) == (
        found['greenroom_device_bytes{kind="arena"}'],
        found['greenroom_device_bytes{kind="total"}'],
        found["greenroom_budget_bytes"],
        found['greenroom_module_restore_seconds{module="voice"}'],
        found["greenroom_governed"],
    )


def test_speech_that_waits_on_the_host_is_told_where_it_may() -> None:
    """How much, how often and how long; nothing of it where keys and values never leave."""
    waiting = WaitingUsage(
        segments=1, used_bytes=2, held_bytes=3, most_bytes=4, departures=5, refusals=6, away_seconds=7
    )
    silent, metrics = fresh(), fresh()
    silent.watch(device_report, [])
    report = device_report()
    assert report.device is not None
    metrics.watch(lambda: replace(report, device=replace(report.device, waiting=waiting)), [])
    found = {name: value for name, value in values(metrics.registry).items() if "_waiting_" in name}

    assert [] == [name for name in values(silent.registry) if name.startswith("greenroom_waiting_")]
    assert {
        'greenroom_waiting_bytes{kind="used"}': 2.0,
        'greenroom_waiting_bytes{kind="held"}': 3.0,
        'greenroom_waiting_bytes{kind="most"}': 4.0,
        "greenroom_waiting_segments": 1.0,
        "greenroom_waiting_departures_total": 5.0,
        "greenroom_waiting_refusals_total": 6.0,
        "greenroom_waiting_seconds_total": 7.0,
    } == found


def test_series_stay_few() -> None:
    """With everything having happened once there are a few hundred series, and no client's word is a label."""
    found = values(service_metrics().registry)

    assert len(found) < 600
    assert [] == [series for series in found if "default" in series and "name=" not in series]


async def test_pulse_measures_how_late_the_loop_is() -> None:
    """A loop that is blocked beats late by as much as it was blocked for."""
    lags: list[float] = []
    beaten = asyncio.Event()

    class LateLoop:
        """A loop whose calls come half a second late, by its own clock."""

        seconds = 0.0

        def time(self) -> float:
            return self.seconds

        def call_later(self, delay_seconds: float, call: object, *args: object) -> asyncio.TimerHandle:
            assert callable(call)
            if len(lags) < 2:
                self.seconds += delay_seconds + 0.5
                call(*args)
            beaten.set()
            return asyncio.get_running_loop().call_later(60.0, lambda: None)

    pulse = LoopPulse(LateLoop(), lags.append, period_seconds=0.25)  # type: ignore[arg-type]  # All that is used of one.
    pulse.start()
    await beaten.wait()
    pulse.stop()

    assert [0.5, 0.5] == lags
