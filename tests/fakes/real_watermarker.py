"""Perth's real modules, loaded once per process for the tests that need the real weights."""

from functools import cache

import torch

from tts_service.models.perth import (
    PerthDetector,
    PerthEncoder,
    detector_state,
    encoder_state,
    upstream_state_dict,
)


@cache
def upstream() -> dict[str, torch.Tensor]:
    """Return upstream's weights."""
    return upstream_state_dict()


@cache
def encoder() -> PerthEncoder:
    """Return the encoder."""
    return PerthEncoder.from_state_dict(encoder_state(upstream()))


@cache
def detector() -> PerthDetector:
    """Return the detector."""
    return PerthDetector.from_state_dict(detector_state(upstream()))
