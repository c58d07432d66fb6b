"""A real service and a real daemon that are hurt in turn: killed, stopped, cut off, confused. Each test heals them.

They are started once; the wall clock of both can be set.
"""

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.memory.v1 import policy_pb2, residency_pb2
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from tests.fakes.governor_client import GovernorClient
from tests.fakes.hurt import WallClock, descriptors, eventually, status_field, talk_nonsense
from tools.both import Both

DAY_SECONDS = 86_400
RECONNECTS = 1_000
KILLS = 3
QUICK = {
    "GREENROOM_DAEMON_POLICY__VALID_FOR_SECONDS": "2",
    "GREENROOM_DAEMON_POLICY__RENEWAL_SECONDS": "0.5",
    "GREENROOM_DAEMON_POLICY__CRITICAL": "0.1%",
    "GREENROOM_DAEMON_POLICY__LOW": "0.2%",
    "GREENROOM_DAEMON_POLICY__HIGH": "0.3%",
}


class Pair(Both):
    """The two processes, and their clock."""

    def __init__(self, folder: Path, clock: WallClock, *, can_jump: bool) -> None:
        environment = clock.environment if can_jump else {}
        super().__init__(folder, service_env=environment, daemon_env={**environment, **QUICK})
        self.clock = clock
        self.can_jump = can_jump

    @property
    def governed(self) -> bool:
        """Whether the daemon's word is in force in the service."""
        report = self.residency()
        return bool(report.holder_id) and report.accepted_version > 0

    def shown_governed(self) -> bool:
        """Tell whether the daemon says that it governs."""
        return [True] == [service.governed for service in self.status().services]

    def heal(self) -> None:
        """Have both run, and one govern the other."""
        self.clock.jump(0)
        for process in (self.daemon, self.service):
            process.signal(signal.SIGCONT)
        assert eventually(lambda: self.governed and self.shown_governed(), within_seconds=40)

    def speak(self) -> bytes:
        """Speak with a fixed seed; return the samples."""
        with grpc.insecure_channel(self.speech_address) as channel:
            stub = tts_pb2_grpc.TextToSpeechServiceStub(channel)
            asked = pb.SynthesizeRequest(text="Hurt, and whole.", config=pb.SessionConfig(sampling=pb.Sampling(seed=5)))
            return b"".join(response.audio.data for response in stub.Synthesize(asked, timeout=60))

    def set_grace(self, seconds: int) -> None:
        """Change a number of the policy that moves nothing."""
        policy = policy_pb2.Policy(grace=Duration(seconds=seconds))
        with self.policy_channel() as channel:
            request = policy_pb2.UpdatePolicyRequest(policy=policy, update_mask=FieldMask(paths=["grace"]))
            self.policy(channel).UpdatePolicy(request, timeout=10)

    def grace_seconds(self) -> int:
        """Return that number."""
        with self.policy_channel() as channel:
            policy = self.policy(channel).GetPolicy(policy_pb2.GetPolicyRequest(), timeout=10).policy
        return policy.grace.seconds


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Run the two processes."""
    folder = tmp_path_factory.mktemp("hurt")
    clock = WallClock(folder)
    with Pair(folder, clock, can_jump=clock.compiled()) as made:
        yield made


@pytest.fixture
def pair(running: Pair) -> Iterator[Pair]:
    """Give them whole, and leave them whole."""
    running.heal()
    yield running
    running.heal()


def test_daemon_that_stops_lets_its_word_expire_and_governs_again(pair: Pair) -> None:
    """A daemon that hangs holds nothing: the service goes back to its own judgement, speaks, and takes it back."""
    spoken = pair.speak()
    holder = pair.residency().holder_id
    pair.daemon.signal(signal.SIGSTOP)
    expired = eventually(lambda: not pair.governed)
    spoken_alone = pair.speak()
    pair.daemon.signal(signal.SIGCONT)

    assert (True, spoken) == (expired, spoken_alone)
    assert eventually(lambda: pair.governed)
    assert holder == pair.residency().holder_id


def test_service_that_stops_is_given_up_and_governed_again(pair: Pair) -> None:
    """A service that hangs delays no operator; the daemon says why it does not govern it, and comes back."""
    pair.service.signal(signal.SIGSTOP)
    given_up = eventually(lambda: not pair.shown_governed())
    pair.set_grace(3)
    pair.service.signal(signal.SIGCONT)

    assert (True, 3) == (given_up, pair.grace_seconds())
    assert eventually(pair.shown_governed, within_seconds=40)


def test_daemon_that_is_killed_at_any_moment_loses_nothing(pair: Pair) -> None:
    """Wherever in its work it dies, the next one begins with the last number that was said to be kept, and its name."""
    moments = random.Random(7)
    holder = pair.residency().holder_id
    kept = []
    for seconds in (4, 5, 6, 7):
        pair.set_grace(seconds)
        killer = threading.Timer(moments.uniform(0.0, 0.5), pair.daemon.signal, (signal.SIGKILL,))
        killer.start()
        pair.daemon.wait()
        killer.join()
        pair.daemon.start()
        assert eventually(lambda at=seconds: pair.grace_seconds() == at)
        kept.append(pair.grace_seconds())

    assert [4, 5, 6, 7] == kept
    assert eventually(lambda: pair.governed)
    assert holder == pair.residency().holder_id


def test_service_that_is_killed_at_any_moment_is_governed_again(pair: Pair) -> None:
    """While it speaks, before and after; whoever listens learns it, and the daemon takes the next one as a new one."""
    moments = random.Random(11)
    daemon, spoken, endings = pair.daemon.pid, pair.speak(), []
    for _ in range(KILLS):
        before = instances(pair)
        killer = threading.Timer(moments.uniform(0.0, 1.5), pair.service.signal, (signal.SIGKILL,))
        killer.start()
        endings.append(end_of_speech(pair))
        killer.join()
        pair.service.wait()
        pair.service.start()
        pair.wait_serving()
        assert eventually(lambda old=before: pair.shown_governed() and not instances(pair) & old, within_seconds=40)

    assert ([grpc.StatusCode.UNAVAILABLE] * KILLS, daemon) == (endings, pair.daemon.pid)
    assert spoken == pair.speak()


def end_of_speech(pair: Pair) -> grpc.StatusCode:
    """Listen to a text that has no end until there is one, and return what it was."""
    text = "This sentence will never end as it was meant to. " * 200
    with grpc.insecure_channel(pair.speech_address) as channel:
        call = tts_pb2_grpc.TextToSpeechServiceStub(channel).Synthesize(pb.SynthesizeRequest(text=text), timeout=60)
        with pytest.raises(grpc.RpcError) as raised:
            list(call)
    return raised.value.code()


def instances(pair: Pair) -> set[str]:
    """Return the services that the daemon shows, each by the name of its run."""
    return {service.service_instance_id for service in pair.status().services}


def test_sockets_that_are_deleted_come_back(pair: Pair) -> None:
    """Neither process has to be restarted because somebody cleaned up."""
    for socket in (pair.control_socket, pair.policy_socket):
        socket.unlink()

    assert eventually(lambda: pair.control_socket.exists() and pair.policy_socket.exists())
    assert eventually(lambda: pair.governed and pair.shown_governed())


def test_garbage_on_the_sockets_disturbs_nobody(pair: Pair) -> None:
    """Whatever is said to a socket that is no gRPC, the daemon's reign goes on as it was."""
    before = pair.residency().epoch
    for socket in (pair.control_socket, pair.policy_socket):
        talk_nonsense(socket)

    assert (before, True) == (pair.residency().epoch, pair.shown_governed())
    assert len(pair.speak()) > 10_000


def test_clock_that_jumps_moves_nothing(pair: Pair) -> None:
    """A day forward, and back again: the same reign, directives renewed, no module moved, speech the same."""
    if not pair.can_jump:
        pytest.skip("there is no C compiler")
    spoken, before = pair.speak(), pair.residency()
    for shift_seconds in (DAY_SECONDS, -DAY_SECONDS):
        pair.clock.jump(shift_seconds)
        jumped = eventually(lambda at=shift_seconds: abs(age_seconds(pair, before) - at) < DAY_SECONDS / 2)
        # Long enough for a directive that is not renewed to expire.
        assert not eventually(lambda: not pair.governed, within_seconds=3.0)
        assert (True, spoken) == (jumped, pair.speak())
    after = pair.residency()

    assert (before.epoch, moves(before)) == (after.epoch, moves(after))


def test_thousand_reconnects_leave_nothing_behind(pair: Pair) -> None:
    """A governor that comes and goes costs neither threads nor descriptors nor memory, and is let in each time."""
    pair.daemon.stop()
    with ExitStack() as stack:
        stack.callback(pair.daemon.start)
        assert eventually(lambda: not pair.residency().holder_id, within_seconds=30)
        come_and_go(pair, 50)
        threads, files = status_field(pair.service.pid, "Threads"), descriptors(pair.service.pid)
        resident = status_field(pair.service.pid, "VmRSS")
        first, last = come_and_go(pair, RECONNECTS)
        grown = status_field(pair.service.pid, "VmRSS") - resident

        assert RECONNECTS - 1 == last - first
        assert eventually(lambda: descriptors(pair.service.pid) <= files + 3)
        assert status_field(pair.service.pid, "Threads") <= threads + 3
        assert grown < 30_000


def come_and_go(pair: Pair, times: int) -> tuple[int, int]:
    """Govern so many times for a moment, each time over a connection of its own; return the first and last epoch."""
    epochs = []
    for _ in range(times):
        options = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(f"unix:{pair.control_socket}", options=options) as channel:
            governor = GovernorClient(channel)
            epochs.append(governor.hello("restless").epoch)
            governor.leave()
    return epochs[0], epochs[-1]


def age_seconds(pair: Pair, before: residency_pb2.ResidencyReport) -> int:
    """Return how much later the service's clock is than it was in a report."""
    return pair.residency().time.seconds - before.time.seconds


def moves(report: residency_pb2.ResidencyReport) -> list[tuple[str, int, int]]:
    """Return how often each module moved."""
    return [(status.module, status.restores, status.evictions) for status in report.modules]
