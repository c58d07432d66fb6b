"""What a start imports of upstream, and what it only makes sure of: packages that nothing but a voice needs.

Making a voice takes librosa and with it SciPy and Numba, seconds to import. That happens when the first voice is made;
that it can happen is looked at before anything is served.
"""

from collections.abc import Callable, Iterable
from typing import Final

from tts_service.errors import StartupError
from tts_service.models.chatterbox.s3gen_network import (
    S3GEN_FLOW,
    S3GEN_SPEAKER_ENCODER,
    S3GEN_TOKENIZER,
    S3GEN_VOCODER,
    VOICE_ENCODER,
)
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.text_tokenizers import Importable, is_importable
from tts_service.models.chatterbox.upstream import upstream

NETWORK_MODULES: Final = {
    T3: ("models.t3.llama_configs", "models.t3.modules.cond_enc", "models.t3.modules.learned_pos_emb"),
    S3GEN_FLOW: (
        "models.s3gen.transformer.upsample_encoder",
        "models.s3gen.decoder",
        "models.s3gen.flow_matching",
        "models.s3gen.flow",
    ),
    S3GEN_VOCODER: ("models.s3gen.f0_predictor", "models.s3gen.hifigan"),
    S3GEN_TOKENIZER: ("models.s3tokenizer.s3tokenizer",),
    S3GEN_SPEAKER_ENCODER: ("models.s3gen.xvector",),
    VOICE_ENCODER: ("models.voice_encoder.voice_encoder",),
}
"""Upstream's modules that networks are made from."""

TEXT_MODULES: Final = ("models.tokenizers.tokenizer",)
"""Upstream's modules that text tokenizers are made from, but for Turbo's."""

VOICE_PACKAGES: Final = ("librosa", "numba", "scipy", "torchaudio", "pyloudnorm")
"""What is imported when a voice is made and not before."""

_WAY_OUT: Final = "install Greenroom's requirements again"


def import_networks(told: Callable[[], None]) -> None:
    """Import what networks and tokenizers are made from; `told` is called in between, and may raise to end it.

    Raises StartupError.
    """
    for names in (*NETWORK_MODULES.values(), TEXT_MODULES):
        import_parts(names, told)


def import_parts(names: Iterable[str], told: Callable[[], None]) -> None:
    """Import modules of upstream's; `told` and errors are as for `import_networks`."""
    for name in names:
        told()
        try:
            upstream(name)
        except ImportError as error:
            raise StartupError(f"chatterbox.{name} cannot be imported ({error}): {_WAY_OUT}") from error


def refuse_missing_packages(importable: Importable = is_importable) -> None:
    """Raise StartupError if voices could not be made, with the packages that are missing."""
    missing = [name for name in VOICE_PACKAGES if not importable(name)]
    if missing:
        raise StartupError(f"voices cannot be made without the Python packages {', '.join(missing)}: {_WAY_OUT}")
