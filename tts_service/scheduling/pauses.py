"""When a lane may do something that nobody waits for: work that holds it for a while, and can wait. Pure."""

from collections.abc import Collection

from tts_service.scheduling.costs import Costs, expected
from tts_service.scheduling.work import ChunkState, ChunkWork, Priority, Work


def bears(chunks: Collection[ChunkWork], costs: Costs, seconds: float, now: float) -> bool:
    """Tell whether a lane may be held for so long: nobody who would be in time without that is late with it.

    Chunks are taken to be made one after the other. What is late in any case, and bulk, speaks against nothing.
    """
    done_at = now
    for each in sorted(chunks, key=lambda chunk: chunk.due_at):
        if each.priority is Priority.BULK:
            continue
        done_at += _seconds_left(each, costs)
        if done_at <= each.due_at < done_at + seconds:
            return False
    return True


def _seconds_left(chunk: ChunkWork, costs: Costs) -> float:
    encode = expected(costs, Work.ENCODE) if chunk.state is ChunkState.WAITING else 0.0
    return encode + chunk.steps_left * expected(costs, Work.SOLVE) + expected(costs, Work.SOUND)
