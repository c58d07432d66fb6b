"""A segment that nobody asks for tokens: what it holds on the device may wait on the host meanwhile."""

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from tts_service.speech.speech_model import Stage
from tts_service.types import ModuleName


class Leave(Enum):
    """What came of a wish to have a segment's keys and values wait on the host."""

    LEFT = "left"
    LATER = "later"
    """The host's memory for them is being made ready: ask again."""
    NO_ROOM = "no_room"


class Rest(Protocol):
    """What a segment may do while it rests. For the lane's thread."""

    @property
    def modules(self) -> frozenset[ModuleName]:
        """What has to be leased for it to leave: not its weights."""
        ...

    @property
    def ahead(self) -> int:
        """How many of its tokens are handed over and not decoded."""
        ...

    @property
    def has_pages(self) -> bool:
        """Whether it has anything on the device that could leave."""
        ...

    @property
    def is_away(self) -> bool:
        """Whether it has left; its next step brings it back."""
        ...

    def leave(self) -> Leave:
        """Leave, under a lease on `modules`. LATER if that takes more calls."""
        ...

    @property
    def forget_room(self) -> Callable[[], object]:
        """What gives the system the host memory that nobody waits in; it holds nothing of the segment."""
        ...


class RestingStage(Stage, Protocol):
    """A stage for tokens that may leave between two steps."""

    @property
    def rest(self) -> Rest | None:
        """What it may do now; None if there is nothing to leave with."""
        ...
