"""For whom calls are counted, and when they give up."""

import math
from typing import Any

import pytest

from tests.fakes.metered import CONFIG
from tts_service.api.callers import caller_of, client_of


class Context:
    """What a call tells of itself."""

    def __init__(self, *, left_seconds: float | None, metadata: tuple[tuple[str, Any], ...] = ()) -> None:
        self._left_seconds = left_seconds
        self._metadata = metadata

    def time_remaining(self) -> float | None:
        """Return what is left until its deadline."""
        return self._left_seconds

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        """Return what it was sent with."""
        return self._metadata

    def peer(self) -> str:
        """Return where it comes from."""
        return "ipv4:10.0.0.7:51234"


@pytest.mark.parametrize(
    ("metadata", "peer", "key", "client"),
    [
        ({}, "ipv4:10.0.0.7:51234", "x-greenroom-client", "ipv4:10.0.0.7"),
        ({}, "ipv6:%5B::1%5D:51234", "x-greenroom-client", "ipv6:%5B::1%5D"),
        ({}, "unix:/run/speech.sock", "x-greenroom-client", "unix:/run/speech.sock"),
        ({"x-greenroom-client": "desk"}, "ipv4:10.0.0.7:5", "X-Greenroom-Client", "name:desk"),
        ({"x-greenroom-client": ""}, "ipv4:10.0.0.7:5", "x-greenroom-client", "ipv4:10.0.0.7"),
        ({"x-greenroom-client": "desk"}, "ipv4:10.0.0.7:5", "", "ipv4:10.0.0.7"),
        ({"x-greenroom-client": "d" * 1_000}, "ipv4:10.0.0.7:5", "x-greenroom-client", "name:" + "d" * 128),
        ({"x-team-bin": b"\x00"}, "ipv4:10.0.0.7:5", "x-team-bin", "ipv4:10.0.0.7"),
    ],
)
def test_call_is_counted_for_whom_it_names_or_for_its_peer(
    metadata: dict[str, Any], peer: str, key: str, client: str
) -> None:
    """A name has no port and no length without a bound, and is never taken for an address."""
    assert client == client_of(metadata, peer, key)


@pytest.mark.parametrize(("left_seconds", "deadline"), [(None, math.inf), (2.5, 102.5)])
def test_deadline_is_on_the_services_clock(left_seconds: float | None, deadline: float) -> None:
    """A call without one waits as long as it is let."""
    caller = caller_of(Context(left_seconds=left_seconds), CONFIG, client_key="x-greenroom-client", now=100.0)

    assert (deadline, True, "ipv4:10.0.0.7") == (caller.deadline, caller.is_paced, caller.client)
