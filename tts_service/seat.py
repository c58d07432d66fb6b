"""Who sits in a lane's loop: somebody with steps to take, in the event loop, who waits to be told how that went."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.listening import Place
from tts_service.residency.growth import RETRY_SECONDS
from tts_service.residency.out_of_memory import is_out_of_memory
from tts_service.speech.speech_model import Modules, Stage, TokenNeed, next_stage


class TakesSteps(Protocol):
    """Whose steps they are."""

    def take(self, stage: Stage, leased: Modules) -> None:
        """Take a stage's next step, in the lane's thread."""
        ...


class Seat:
    """Somebody with steps to take in one lane. Made in the event loop that waits for `served`."""

    def __init__(self, key: int, stages: Sequence[Stage], steps: TakesSteps, place: Place) -> None:
        self.key = key
        self.stages = stages
        self.steps = steps
        self.place = place
        self.since = 0.0
        """Since when it could have had what it wants next; the loop's to write, as is the next."""
        self.wanted = 0
        self.found: Stage | None = None
        """Where its next step was when the loop looked last: in a turn it looks once."""
        self.need: TokenNeed | None = None
        """What its tokens asked for then."""
        self.up = False
        self.served: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def stage(self) -> Stage | None:
        """Where its next step is."""
        return None if self.up else next_stage(self.stages)

    def end(self, error: BaseException | None = None) -> None:
        """Tell that it is no longer served; from any thread."""
        loop = self.served.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(_end, self.served, error)

    def __repr__(self) -> str:
        return f"<Seat {self.key} {'up' if self.up else 'down'} | {self.place.listening!r}>"


def _end(served: "asyncio.Future[None]", error: BaseException | None) -> None:
    if served.done():
        return
    if error is None:
        served.set_result(None)
        return
    served.set_exception(_told(error))


def _told(error: BaseException) -> Exception:
    """Return what is raised by who waits, because a step has raised this."""
    if isinstance(error, GreenroomError):
        return error
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        # A future takes no StopIteration, and anything but an Exception would end who waits instead of its utterance.
        return _caused(RuntimeError(f"a step raised {type(error).__name__}"), error)
    if is_out_of_memory(error):
        message = "there was no memory for a step of speech"
        return _caused(ServiceError(Reason.DEVICE_MEMORY, message, retry_after_seconds=RETRY_SECONDS), error)
    return error


def _caused(told: Exception, error: BaseException) -> Exception:
    told.__cause__ = error
    return told
