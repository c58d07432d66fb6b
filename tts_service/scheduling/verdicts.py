"""What is asked at the door, and what is answered."""

import math
from dataclasses import dataclass
from enum import Enum

from tts_service.scheduling.work import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who asks to be let in. `client` is whom its sessions are counted for: a peer, or what a header says."""

    key: int
    client: str
    priority: Priority = Priority.INTERACTIVE
    deadline: float = math.inf
    """When the client gives up."""


class Refusal(Enum):
    """Why somebody is not let in."""

    FULL = "full"
    CLIENT = "client"
    """Its client has as many sessions as one may have."""
    DEADLINE = "deadline"
    """It would give up before it could hear anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """It may begin."""

    key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """It waits at this position, from 1 on, for about so long."""

    key: int
    position: int
    wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It is not let in; asking again makes sense after this long."""

    key: int
    refusal: Refusal
    retry_after_seconds: float


Verdict = Admitted | Queued | Refused
