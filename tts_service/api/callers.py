"""Who calls, as admission has it: for whom it is counted, and when it gives up."""

import math
from dataclasses import dataclass
from typing import Any

from tts_service.speech.session_config import Pacing, SessionConfig
from tts_service.types import Priority

NAME_MAXIMUM_CHARS = 128
"""Of what a client calls itself; the rest is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks to be let in. `deadline` is on the service's clock."""

    client: str
    priority: Priority = Priority.INTERACTIVE
    is_paced: bool = True
    deadline: float = math.inf


def caller_of(context: Any, config: SessionConfig, *, client_key: str, now: float) -> Caller:
    """Return who calls with a configuration; an empty `client_key` counts by peer alone."""
    left_seconds = context.time_remaining()
    return Caller(
        client=client_of(dict(context.invocation_metadata() or ()), context.peer(), client_key),
        priority=config.priority,
        is_paced=config.pacing is Pacing.REALTIME,
        deadline=math.inf if left_seconds is None else now + left_seconds,
    )


def client_of(metadata: dict[str, Any], peer: str, client_key: str) -> str:
    """Return for whom a call is counted: whom the metadata names, else the peer without its port."""
    named = metadata.get(client_key.lower(), "") if client_key else ""
    if isinstance(named, str) and named:
        return f"name:{named[:NAME_MAXIMUM_CHARS]}"
    kind, _, address = peer.partition(":")
    return peer if kind not in {"ipv4", "ipv6"} else f"{kind}:{address.rpartition(':')[0]}"
