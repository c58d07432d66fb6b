"""States of a governor, as rules tests need them."""

from collections.abc import Callable

import pytest

from tts_service.errors import CallerError
from tts_service.residency import governor as rules
from tts_service.residency.governor import Governor, Hello
from tts_service.residency.types import Directive, Placement, Tier
from tts_service.types import VOICE, WATERMARK_DETECTOR

NOW = 1_000.0
VOICE_TO_DISK = Placement(module=VOICE, tier=Tier.DISK)
DETECTOR_TO_DISK = Placement(module=WATERMARK_DETECTOR, tier=Tier.DISK)


def directive(epoch: int = 1, version: int = 1, valid_for_seconds: float = 10.0) -> Directive:
    """Return a directive that sends the voice to disk."""
    return Directive(epoch=epoch, version=version, valid_for_seconds=valid_for_seconds, placements=(VOICE_TO_DISK,))


def attached(holder_id: str = "first", *, now_seconds: float = NOW) -> Governor:
    """Return the state after one holder was let in."""
    return rules.hello(Governor(), Hello(holder_id=holder_id), now_seconds=now_seconds)


def governing(wish: Directive | None = None) -> Governor:
    """Return the state after `first` was let in and gave its word at NOW."""
    return rules.direct(attached(), wish or directive(), stream_epoch=1, now_seconds=NOW)[0]


def error_of(action: Callable[[], object]) -> CallerError:
    """Return the error that an action raises."""
    with pytest.raises(CallerError) as raised:
        action()
    return raised.value
