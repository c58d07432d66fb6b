"""Whether and how lanes are scheduled together over all sessions: what the loops are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tts_service.lane_loop import LaneLoop, LoopParts
from tts_service.scheduling.costs import Figures
from tts_service.scheduling.deadlines import Promise
from tts_service.scheduling.sound_batches import BatchLimits
from tts_service.scheduling.token_bursts import BurstLimits
from tts_service.scheduling.token_rests import RestLimits
from tts_service.sound_loop import SoundLoop
from tts_service.speech.speech_model import Lane
from tts_service.token_loop import TokenLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How sessions share a device. `figures` are where the estimates of costs begin."""

    figures: Figures
    promise: Promise = field(default_factory=Promise)
    bursts: BurstLimits = field(default_factory=lambda: BurstLimits(most_seconds=0.012))
    """Eight tokens of a lone segment also beside the lane of sound: an utterance's first chunk is then three bursts."""
    rests: RestLimits | None = field(default_factory=RestLimits)
    """When keys and values of who rests leave the device; None for never."""
    place_wait_seconds: float = 5.0
    """After which a segment that found no place to begin asks all the same, and is told to come back."""
    batches: BatchLimits = field(default_factory=BatchLimits)


def lane_loops(pace: Pace, parts: LoopParts) -> Mapping[Lane, LaneLoop]:
    """Return the loop of each lane."""
    tokens = TokenLoop(parts, pace.bursts, pace.rests, place_wait_seconds=pace.place_wait_seconds)
    return {Lane.TOKENS: tokens, Lane.SOUND: SoundLoop(parts, pace.batches)}
