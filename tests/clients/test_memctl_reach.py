"""Nobody answers: what `memctl` says, for every way in which that happens."""

import errno
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from memctl import sockets
from memctl.errors import DAEMON, SERVICE, ExitCode, RefusedError, UnreachableError
from memctl.link import policy_link
from memctl.sockets import Fault, fault_of, found_services, runtime_folder, service_socket
from tests.fakes.fake_policy_rules import Refusal
from tests.fakes.fake_policy_service import FakeDaemon
from tests.fakes.memctl_desk import Desk
from tests.fakes.memctl_desk import desk as open_desk

ASKING_THE_DAEMON = [
    ["get"],
    ["get", "status"],
    ["set", "low=1GiB"],
    ["top"],
    ["top", "--once"],
    ["watch"],
    ["evict", "voice"],
    ["restore", "voice"],
    ["pin", "voice"],
    ["hold", "voice"],
    ["release", "voice"],
    ["services"],
]
ASKING_THE_SERVICE = [["get", "service"], ["report"], ["evict", "voice", "--direct"], ["release", "voice", "--direct"]]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Give a desk with nothing behind its sockets yet."""
    with open_desk() as one:
        yield one


@pytest.mark.parametrize("words", ASKING_THE_DAEMON, ids=" ".join)
def test_command_without_a_daemon_says_so_and_what_to_start(desk: Desk, words: list[str]) -> None:
    """Each command that needs the daemon exits with 3, names the socket, and says what to start."""
    answer = desk.type(*words)

    assert (3, "") == (answer.exit_code, answer.out)
    assert f"there is no socket {desk.policy_socket}" in answer.err
    assert "`memory-daemon`" in answer.err


@pytest.mark.parametrize("words", ASKING_THE_SERVICE, ids=" ".join)
def test_command_without_a_service_says_so_and_what_to_start(desk: Desk, words: list[str]) -> None:
    """Each command that asks the service itself exits with 3, names its socket, and says what to start."""
    answer = desk.type(*words)

    assert (3, "") == (answer.exit_code, answer.out)
    assert str(desk.service_socket("default")) in answer.err
    assert "`tts-service`" in answer.err


def test_error_as_json_is_one_object_with_stable_keys(desk: Desk) -> None:
    """A script reads reason, words, way out and exit code from stderr, and nothing from stdout."""
    answer = desk.type("get", "--json")

    assert {
        "exit_code",
        "reason",
        "message",
        "way_out",
        "fields",
        "metadata",
        "retry_after_seconds",
    } == set(answer.error)
    assert (3, "SOCKET_MISSING", "") == (answer.error["exit_code"], answer.error["reason"], answer.out)


def test_socket_that_was_left_behind_is_told_from_one_that_never_was(desk: Desk) -> None:
    """A socket file without a listener means that the daemon has gone."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(desk.policy_socket))

    assert "SOCKET_STALE" == desk.type("get", "--json").error["reason"]


def test_file_that_is_no_socket_is_told(desk: Desk) -> None:
    """A plain file in the socket's place is named as such."""
    desk.policy_socket.write_text("")

    assert "SOCKET_FOREIGN" == desk.type("get", "--json").error["reason"]


def test_path_too_long_for_a_socket_is_told(desk: Desk) -> None:
    """The limit that the system puts on socket paths is explained."""
    long = desk.folder / ("x" * 60) / ("y" * 60)
    long.parent.mkdir()
    (long.parent / "short").symlink_to(desk.folder)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(long.parent.parent / "s"))
        (long.parent.parent / "s").rename(long)

    assert Fault.TOO_LONG is fault_of(long)


@pytest.mark.parametrize("words", [["get"], ["top", "--once"], ["watch"], ["evict", "voice"]], ids=" ".join)
def test_daemon_that_never_answers_is_given_up_in_time(desk: Desk, words: list[str]) -> None:
    """A socket that takes connections and says nothing ends the command after --timeout."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(desk.policy_socket))
        one.listen()
        error = desk.type(*words, "--json", "--timeout", "200ms").error

    assert (3, "SOCKET_SILENT") == (error["exit_code"], error["reason"])


def test_stream_that_says_nothing_is_given_up_in_time(desk: Desk) -> None:
    """A daemon that answers calls but sends no status counts as silent."""
    desk.daemon.silent.set()
    desk.serve_daemon()
    error = desk.type("top", "--once", "--json", "--timeout", "200ms").error

    assert (3, "SOCKET_SILENT") == (error["exit_code"], error["reason"])


def test_server_of_another_kind_is_told_to_be_of_another_version(desk: Desk) -> None:
    """A gRPC server without the service answers, so it is a refusal, with a hint at versions."""
    with ThreadPoolExecutor() as pool:
        server = grpc.server(pool)
        server.add_insecure_port(f"unix:{desk.policy_socket}")
        server.start()
        error = desk.type("get", "--json").error
        server.stop(0).wait()

    assert (1, "UNIMPLEMENTED") == (error["exit_code"], error["reason"])
    assert "memctl --version" in error["way_out"]


class RefusingDaemon(FakeDaemon):
    """A daemon that answers everything with one refusal, or breaks."""

    refusal: Refusal | None = None

    def GetPolicy(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Refuse or break."""
        del request
        if self.refusal is None:
            context.abort(grpc.StatusCode.INTERNAL, "the journal is corrupt")
        context.abort_with_status(self.refusal.status())


def refused(refusal: Refusal | None, *, as_json: bool) -> tuple[int, object]:
    """Return exit code and error of a call that is refused."""
    with open_desk() as desk:
        desk.daemon = RefusingDaemon()
        desk.daemon.refusal = refusal
        desk.serve_daemon()
        answer = desk.type("get", *(["--json"] if as_json else []))
        return answer.exit_code, answer.error if as_json else answer.err


def test_refusal_that_may_be_tried_again_says_when() -> None:
    """RetryInfo becomes a sentence, and a number for scripts."""
    refusal = Refusal(code=14, reason="DRAINING", message="going down", retry_seconds=2.0)

    assert (1, "memctl: going down\nTry again in 2 s.\n") == refused(refusal, as_json=False)
    _, error = refused(refusal, as_json=True)
    assert isinstance(error, dict)
    assert ("DRAINING", 2.0) == (error["reason"], error["retry_after_seconds"])


def test_error_without_details_is_told_in_its_own_words() -> None:
    """A plain gRPC status is a refusal with its code as the reason."""
    assert (1, "memctl: The memory daemon answered: the journal is corrupt\n") == refused(None, as_json=False)


def test_fields_at_fault_are_listed_unless_the_message_has_them() -> None:
    """Each field stands on its own line when the message does not tell it already."""
    refusal = Refusal(code=3, reason="BAD_CONFIG", message="no good", fields={"low": "must be at least critical"})

    assert (1, "memctl: no good\n  low: must be at least critical\n") == refused(refusal, as_json=False)


@pytest.mark.parametrize("peer", [DAEMON, SERVICE])
@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_words_and_a_way_out(peer: str, fault: Fault) -> None:
    """No way of not answering leaves an operator without a next step."""
    error = UnreachableError(peer, Path("/run/x.sock"), fault)

    assert ExitCode.UNREACHABLE == error.exit_code
    assert "/run/x.sock" in error.happened
    assert error.way_out
    assert f"SOCKET_{fault.name}" in repr(error)


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENOENT, Fault.MISSING),
        (errno.ENOTDIR, Fault.MISSING),
        (errno.EACCES, Fault.FORBIDDEN),
        (errno.EPERM, Fault.FORBIDDEN),
        (errno.ECONNREFUSED, Fault.STALE),
        (errno.ENAMETOOLONG, Fault.TOO_LONG),
        (errno.EAGAIN, Fault.SILENT),
        (errno.EIO, Fault.SILENT),
    ],
)
def test_error_of_the_system_is_a_fault(number: int, fault: Fault) -> None:
    """What the system says of a socket is put into our words."""
    assert fault is sockets._fault_of_error(OSError(number, "words"))


def test_probe_of_a_live_socket_says_that_somebody_listens(desk: Desk) -> None:
    """Where a connection works, the conversation was lost, not the listener."""
    desk.serve_daemon()

    assert Fault.LOST is fault_of(desk.policy_socket)


def test_link_takes_a_path_with_odd_characters() -> None:
    """Spaces, percent signs and hashes in a path are no trouble."""
    with open_desk() as desk:
        desk.policy_socket = desk.folder / "a b%20c#d?é.sock"
        desk.serve_daemon()

        assert 0 == desk.type("get").exit_code


def test_closed_stream_is_a_lost_conversation(desk: Desk) -> None:
    """A daemon that ends its stream in good order is gone all the same."""
    desk.serve_daemon()
    with policy_link(desk.policy_socket, timeout_seconds=5) as link:
        statuses = iter(link.watch())
        next(statuses)
        desk.daemon.end()
        with pytest.raises(UnreachableError) as error:
            list(statuses)

    assert Fault.LOST is error.value.fault


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/greenroom"),
        ({"XDG_RUNTIME_DIR": "relative"}, "/tmp/greenroom-7"),  # noqa: S108  A name, not a file.
        ({"XDG_RUNTIME_DIR": ""}, "/tmp/greenroom-7"),  # noqa: S108  A name, not a file.
        ({}, "/tmp/greenroom-7"),  # noqa: S108  As above.
    ],
)
def test_sockets_are_where_the_daemon_puts_them(environment: dict[str, str], folder: str) -> None:
    """The folder is the user's runtime folder, else a private one under the temporary directory."""
    assert Path(folder) == runtime_folder(environment, 7, Path("/tmp"))  # noqa: S108  As above.


def test_socket_of_a_daemon_that_was_moved_is_found_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's own setting for its socket is followed; without it the folder's is."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.delenv(sockets.POLICY_SOCKET_VARIABLE, raising=False)
    before = sockets.own_policy_socket()
    monkeypatch.setenv(sockets.POLICY_SOCKET_VARIABLE, "/run/other.sock")

    assert Path("/run/user/7/greenroom/policy.sock") == before
    assert Path("/run/other.sock") == sockets.own_policy_socket()


def test_service_is_found_beside_the_policy_socket_or_where_its_path_says() -> None:
    """A name is looked for in `services/`; what has a slash is a path, and its name follows."""
    assert ("gpu-1", Path("/r/services/gpu-1.sock")) == service_socket(Path("/r/policy.sock"), "gpu-1")
    assert ("gpu-1", Path("/x/gpu-1.sock")) == service_socket(Path("/r/policy.sock"), "/x/gpu-1.sock")


def test_services_are_found_by_their_sockets_alone(tmp_path: Path) -> None:
    """Locks and other files beside the sockets are no services, and a missing folder has none."""
    assert {} == found_services(tmp_path / "policy.sock")
    (tmp_path / "services").mkdir()
    for name in ("b.sock", "a.sock", "a.sock.lock", "notes.txt"):
        (tmp_path / "services" / name).touch()

    assert ["a", "b"] == list(found_services(tmp_path / "policy.sock"))


def test_refusal_shows_its_reason() -> None:
    """A refusal in a traceback is readable."""
    assert "<RefusedError GOVERNED: no>" == repr(RefusedError("no", reason="GOVERNED"))
