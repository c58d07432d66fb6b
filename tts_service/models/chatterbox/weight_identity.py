"""Which weights a voice was made with, in a few bytes: a voice made by other encoders means nothing to a model."""

import hashlib
from typing import Final

from tts_service.errors import StartupError
from tts_service.models.chatterbox.layout import VOICE_MODULES
from tts_service.models.chatterbox.loading import ModelWeights

SAMPLED_BYTES: Final = 1_024
"""Of each tensor, from its start: weights of another training differ in every one, and 500 MB need not be read."""


def voice_weights_sum(weights: ModelWeights) -> str:
    """Return what names the weights of the modules that make voices; about 700 short reads. Raises StartupError."""
    found = hashlib.sha256()
    for module in sorted(VOICE_MODULES):
        path = weights.folder / weights.layout.module_file(module).file
        try:
            with path.open("rb") as file:
                for name, stored in sorted(weights.stored[module].items()):
                    file.seek(stored.start_byte)
                    head = file.read(min(SAMPLED_BYTES, stored.byte_count))
                    found.update(f"{module} {name} {stored.shape} {len(head)} ".encode() + head)
        except OSError as error:
            raise StartupError(f"cannot read {path} ({error.strerror or error})") from error
    return found.hexdigest()[:16]
