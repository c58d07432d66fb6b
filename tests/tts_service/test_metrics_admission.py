"""What the service counts of the door to speech."""

from tests.fakes.metered import service_metrics, values
from tts_service.config import ServiceConfig
from tts_service.metrics import Metrics


def test_door_is_counted_by_priority_and_refusal() -> None:
    """Who came in, who waited, who was sent away and when they were told to come back are all there."""
    found = values(service_metrics().registry)

    assert (1.0, 1.0, 1.0, 0.4, 4.0, 3.0, 0.25) == (
        found['greenroom_admitted_total{priority="interactive"}'],
        found['greenroom_queued_total{priority="interactive"}'],
        found['greenroom_refused_total{priority="bulk",refusal="full"}'],
        found["greenroom_admission_wait_seconds_sum"],
        found["greenroom_retry_told_seconds_sum"],
        found["greenroom_queue_sessions"],
        found['greenroom_utilisation{part="sound"}'],
    )


def test_refusals_are_there_before_the_first() -> None:
    """A counter that appears with its first event has not risen then."""
    found = values(Metrics(ServiceConfig(), version="1", is_serving=lambda: True).registry)

    assert 0.0 == found['greenroom_refused_total{priority="interactive",refusal="client"}']
