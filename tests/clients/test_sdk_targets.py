"""What people type as an address becomes a gRPC target, or an error that says what to write."""

import pytest

from greenroom_client.targets import KEEPALIVE_MILLISECONDS, channel_options, is_local, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("speech.example", "speech.example:50051"),
        (" localhost:1 ", "localhost:1"),
        ("[::1]:7", "[::1]:7"),
        ("[::1]", "[::1]:50051"),
        ("/run/greenroom/speech.sock", "unix:/run/greenroom/speech.sock"),
        ("unix:///run/speech.sock", "unix:///run/speech.sock"),
        ("dns:///speech.example:443", "dns:///speech.example:443"),
    ],
)
def test_target_of_each_form_is_understood(text: str, target: str) -> None:
    """Hosts, ports, socket paths and gRPC's own targets all work; a missing port is the default one."""
    assert target == parse_target(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no address"),
        ("   ", "no address"),
        ("http://speech.example", "is a URL"),
        ("host:0", "port lies between"),
        ("host:65536", "port lies between"),
        ("host:port", "no address"),
        ("::1", "no address"),
        ("two words:1", "no address"),
    ],
)
def test_target_that_cannot_be_one_is_refused_with_the_reason(text: str, complaint: str) -> None:
    """A wrong address is found before anything is dialled, and the message says what to write."""
    with pytest.raises(ValueError, match=complaint):
        parse_target(text)


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("127.0.0.1:50051", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("unix:/run/speech.sock", True),
        ("192.0.2.1:50051", False),
        ("speech.example:50051", False),
    ],
)
def test_target_on_this_machine_is_known_as_local(target: str, local: bool) -> None:  # noqa: FBT001 - From the table.
    """Loopback and sockets are told from the rest of the world."""
    assert local == is_local(target)


@pytest.mark.parametrize(("target", "through_proxy"), [("127.0.0.1:1", 0), ("speech.example:1", 1)])
def test_channel_to_this_machine_asks_no_proxy(target: str, through_proxy: int) -> None:
    """A proxy of the environment is never asked for the loopback."""
    options = dict(channel_options(target, connect_timeout_seconds=5.0, version="0"))

    assert through_proxy == options["grpc.enable_http_proxy"]


def test_channel_options_keep_the_bounds_of_the_service() -> None:
    """Pings come no faster than the service allows, and go on while a session is silent."""
    options = dict(channel_options("host:1", connect_timeout_seconds=2.5, version="1.2"))

    assert KEEPALIVE_MILLISECONDS >= 30_000
    assert KEEPALIVE_MILLISECONDS == options["grpc.keepalive_time_ms"]
    assert 0 == options["grpc.http2.max_pings_without_data"]
    assert 2_500 == options["grpc.min_reconnect_backoff_ms"]
    assert "greenroom-python/1.2" == options["grpc.primary_user_agent"]
