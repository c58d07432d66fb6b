"""Nobody holds up the control path: not by many streams, by not reading, by flooding or by blocking."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from greenroom.memory.v1 import residency_pb2 as pb
from tests.fakes.control_path import QUICK, ControlPath, at_rest, eventually, serving
from tests.fakes.governor_client import directive_request, failure_of
from tts_service.types import VOICE


@pytest.fixture
def path() -> Iterator[ControlPath]:
    """Serve with short times and few places."""
    with serving(QUICK) as running:
        yield running


def test_places_for_governors_are_bounded() -> None:
    """One stream too many is refused with a time to retry, and a quick call is still answered."""
    with serving(replace(QUICK, govern_streams=1)) as path:
        governor = path.governor()
        governor.hello()
        other = path.governor()
        other.send(pb.GovernRequest(hello=pb.Hello(holder_id="other", takeover=True)))

        assert (1, (grpc.StatusCode.RESOURCE_EXHAUSTED, "AT_CAPACITY", {})) == (path.report().epoch, other.failure())


def test_places_for_watchers_are_bounded(path: ControlPath) -> None:
    """One watcher too many is refused with a time to retry, and a quick call is still answered."""
    watchers = [path.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=60) for _ in range(QUICK.watch_streams)]
    for watcher in watchers:
        next(watcher)
    with pytest.raises(grpc.RpcError) as refused:
        next(path.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=60))
    status = rpc_status.from_call(refused.value)
    retry = error_details_pb2.RetryInfo()
    assert status is not None
    assert status.details[1].Unpack(retry)

    assert ((grpc.StatusCode.RESOURCE_EXHAUSTED, "AT_CAPACITY", {}), 1, 0) == (
        failure_of(refused.value),
        retry.retry_delay.seconds,
        path.report().epoch,
    )


def test_superseded_stream_that_is_not_read_gives_its_place_away() -> None:
    """A client that never reads cannot keep the place of a stream that is over."""
    limits = replace(QUICK, govern_streams=2, report_minimum_seconds=0.001, report_seconds=0.002)
    with serving(limits) as path, path.unread_governor() as unread:
        unread.send(pb.GovernRequest(hello=pb.Hello(holder_id="unread")))
        eventually(lambda: path.report().epoch == 1)
        at_rest(lambda: path.manager.reports)
        second = path.governor()
        second.hello("second", takeover=True)
        refused = path.governor().failure()[1]
        eventually(lambda: "governors 1 of 2" in repr(path.servicer))
        welcome = path.governor().hello("third", takeover=True)

        assert ("AT_CAPACITY", 3) == (refused, welcome.epoch)


def test_governor_that_floods_and_never_reads_holds_up_itself_alone(path: ControlPath) -> None:
    """Answers that nobody reads stop their own stream, and no other."""
    with path.unread_governor() as flooding:
        flooding.send(pb.GovernRequest(hello=pb.Hello(holder_id="flood")))
        for version in range(1, 10_001):
            flooding.send(directive_request(1, version))
        eventually(lambda: len(path.manager.calls) > 0)
        accepted = at_rest(lambda: len(path.manager.calls))
        calm = path.governor()
        welcome = calm.hello("calm", takeover=True)

        assert (True, 2, 1) == (accepted < 10_000, welcome.epoch, calm.direct(2, 1).ack.version)


def test_manager_that_blocks_keeps_no_report_back(path: ControlPath) -> None:
    """While a directive is being applied, everybody else is still answered."""
    governor = path.governor()
    governor.hello()
    path.manager.block = threading.Event()
    governor.send(directive_request(1, 1))
    watcher = path.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=60)
    first = next(watcher).report
    watcher.cancel()
    report = path.report()
    path.manager.block.set()

    assert (1, 0, 1) == (first.epoch, report.accepted_version, report.epoch)


def test_watcher_that_left_gives_its_place_back(path: ControlPath) -> None:
    """Watchers may come and go without end."""
    for _ in range(3 * QUICK.watch_streams):
        watcher = path.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=60)
        next(watcher)
        watcher.cancel()
        eventually(lambda: path.manager.subscribers == 1 and not path.governance._listeners)

    assert next(path.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=60)).report.epoch == 0


def test_many_changes_are_reported_as_few(path: ControlPath) -> None:
    """Changes that come faster than reports may go are put together."""
    watcher = path.stub.WatchResidency(pb.WatchResidencyRequest(), timeout=60)
    next(watcher)
    for _ in range(5_000):
        path.manager.change()
    path.stub.PlaceModule(pb.PlaceModuleRequest(module="voice", tier=pb.TIER_DISK), timeout=10)
    seen = 0
    for update in watcher:
        seen += 1
        if update.report.modules[0].tier == pb.TIER_DISK:
            break
    watcher.cancel()

    assert 1 <= seen < 500


def test_placements_at_once_are_bounded() -> None:
    """Operators who wait cannot take every thread; one that waits is answered when its module is free."""
    with serving(replace(QUICK, place_seconds=60.0)) as path:
        with path.manager.lease(VOICE):
            waiting = path.stub.PlaceModule.future(pb.PlaceModuleRequest(module="voice", tier=pb.TIER_DISK), timeout=60)
            eventually(lambda: len(path.report().pending_moves) == 1)
            with pytest.raises(grpc.RpcError) as refused:
                path.stub.PlaceModule(pb.PlaceModuleRequest(module="watermark.detector"), timeout=10)
        answer = waiting.result()

        assert ("AT_CAPACITY", "", pb.TIER_DISK) == (
            failure_of(refused.value)[1],
            answer.pending_reason,
            answer.module.tier,
        )
