"""Govern over a real Unix socket: who is let in, who is refused, and how a stream ends."""

import threading
from collections.abc import Iterator
from contextlib import suppress

import grpc
import pytest

from greenroom.memory.v1 import residency_pb2 as pb
from tests.fakes.control_path import QUICK, ControlPath, eventually, serving
from tests.fakes.governor_client import directive_request, failure_of


@pytest.fixture
def path() -> Iterator[ControlPath]:
    """Serve with short times and few places."""
    with serving(QUICK) as running:
        yield running


def test_hello_is_answered_by_a_welcome(path: ControlPath) -> None:
    """A governor learns its epoch, who serves, and everything that is."""
    welcome = path.governor().hello("daemon-1")

    assert (1, "instance-1", 1, "default", ["host"], 3, "daemon-1") == (
        welcome.epoch,
        welcome.service_instance_id,
        welcome.protocol_version,
        welcome.service_name,
        [device.id for device in welcome.devices],
        len(welcome.report.modules),
        welcome.report.holder_id,
    )


@pytest.mark.parametrize("first", [directive_request(1, 1), pb.GovernRequest()])
def test_first_message_that_is_no_hello_is_refused(path: ControlPath, first: pb.GovernRequest) -> None:
    """Whoever does not introduce itself is not listened to."""
    governor = path.governor()
    governor.send(first)

    assert governor.failure()[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_NOT_FIRST")


def test_stream_without_any_message_is_refused(path: ControlPath) -> None:
    """Closing the sending side before a hello is no introduction either."""
    governor = path.governor()
    governor.half_close()

    assert governor.failure()[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_NOT_FIRST")


def test_silent_governor_is_sent_away(path: ControlPath) -> None:
    """A stream that says nothing does not keep its place."""
    assert path.governor().failure()[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, "IDLE_TIMEOUT")


@pytest.mark.parametrize("holder_id", ["", "x" * 129, "tab\there", "grün", "line\n"])
def test_bad_holder_id_is_refused(path: ControlPath, holder_id: str) -> None:
    """A holder's name is printable ASCII of bounded length."""
    governor = path.governor()
    governor.send(pb.GovernRequest(hello=pb.Hello(holder_id=holder_id)))

    assert governor.failure()[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG")


def test_second_hello_ends_the_stream(path: ControlPath) -> None:
    """A stream has one hello."""
    governor = path.governor()
    governor.hello()
    governor.send(pb.GovernRequest(hello=pb.Hello(holder_id="again")))

    assert governor.failure()[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_NOT_FIRST")


def test_empty_message_ends_the_stream(path: ControlPath) -> None:
    """A message that says nothing is a fault of its sender."""
    governor = path.governor()
    governor.hello()
    governor.send(pb.GovernRequest())

    assert governor.failure()[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG")


def test_other_holder_is_refused_with_the_name_of_the_present_one(path: ControlPath) -> None:
    """While one governs, another is told who it is."""
    first = path.governor()
    first.hello("first")
    second = path.governor()
    second.send(pb.GovernRequest(hello=pb.Hello(holder_id="second")))
    code, reason, metadata = second.failure()

    assert (grpc.StatusCode.FAILED_PRECONDITION, "GOVERNED", "first", {"holder", "expires_in_seconds"}) == (
        code,
        reason,
        metadata["holder"],
        set(metadata),
    )


def test_takeover_ends_the_earlier_stream(path: ControlPath) -> None:
    """Who takes over gets the next epoch, and the one before is told."""
    first, second = path.governor(), path.governor()
    first.hello("first")
    welcome = second.hello("second", takeover=True)

    assert (2, (grpc.StatusCode.ABORTED, "SUPERSEDED")) == (welcome.epoch, first.failure()[:2])


def test_same_holder_again_ends_its_earlier_stream(path: ControlPath) -> None:
    """A daemon that reconnects before its old stream is known to be broken gets in."""
    first, second = path.governor(), path.governor()
    first.hello("daemon")
    welcome = second.hello("daemon")

    assert (2, (grpc.StatusCode.ABORTED, "SUPERSEDED")) == (welcome.epoch, first.failure()[:2])


def test_takeover_race_leaves_exactly_one_in_charge(path: ControlPath) -> None:
    """Of several that take over at once, the last epoch governs and the others are told."""
    governors = [path.governor() for _ in range(QUICK.govern_streams)]
    epochs: dict[int, int] = {}

    def take_over(number: int) -> None:
        # Who is taken over at once may hear that before it hears that it governs.
        with suppress(grpc.RpcError):
            epochs[number] = governors[number].hello(f"holder-{number}", takeover=True).epoch

    threads = [threading.Thread(target=take_over, args=(number,)) for number in range(len(governors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = max(epochs, key=lambda number: epochs[number])
    losers = [governor.failure()[:2] for number, governor in enumerate(governors) if number != winner]
    answer = governors[winner].direct(epochs[winner], 1)

    assert (3, [(grpc.StatusCode.ABORTED, "SUPERSEDED")] * 2, 1) == (epochs[winner], losers, answer.ack.version)


def test_half_close_lets_the_governor_out(path: ControlPath) -> None:
    """A governor that has nothing more to say ends its stream well, and another may come."""
    governor = path.governor()
    governor.hello("first")
    governor.half_close()
    for _ in governor.call:
        pass
    eventually(lambda: "away" in repr(path.governance))
    epoch = path.governor().hello("second").epoch

    assert (2, grpc.StatusCode.OK) == (epoch, governor.call.code())


def test_reports_come_without_any_change(path: ControlPath) -> None:
    """A governor hears regularly even when nothing happens."""
    governor = path.governor()
    governor.hello()
    reports = governor.reports()

    assert [next(reports).epoch for _ in range(3)] == [1, 1, 1]


def test_stop_tells_every_stream_that_the_service_goes(path: ControlPath) -> None:
    """Whoever governs or watches learns that it should come again later."""
    governor = path.governor()
    governor.hello()
    watcher = path.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=60)
    next(watcher)
    path.server.stop()
    with pytest.raises(grpc.RpcError) as ended:
        list(watcher)

    assert [(grpc.StatusCode.UNAVAILABLE, "DRAINING")] * 2 == [failure_of(ended.value)[:2], governor.failure()[:2]]
