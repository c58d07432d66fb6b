"""Upstream's folders: which files a model has, and which names in them belong to which module.

Rules
* File names and repositories are those of upstream's `tts.py`, `mtl_tts.py` and `tts_turbo.py` (release 0.1.7).
* Every name in a file belongs to exactly one module, by its prefix, or is one of `unused_keys`.
* Upstream loads English's S3Gen with `strict=False`, and declares in `ignore_state_dict_missing` what may then be
  absent; the others it loads strictly. So `optional_keys` is that declaration for English and empty elsewhere.
"""

from dataclasses import dataclass
from typing import Final

import torch

from tts_service.models.chatterbox import s3gen_network, t3_network
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import (
    COMPUTED_KEYS,
    S3GEN_SPEAKER_ENCODER,
    S3GEN_TOKENIZER,
    VOICE_ENCODER,
    WEIGHTS_PREFIX,
)
from tts_service.models.chatterbox.t3_network import T3, UNUSED_KEYS
from tts_service.types import ModuleName

CONDITIONALS_FILE: Final = "conds.pt"
"""The voice that a model brings with it; a pickle, read with `weights_only`."""

VOICE_MODULES: Final = frozenset({S3GEN_TOKENIZER, S3GEN_SPEAKER_ENCODER, VOICE_ENCODER})
"""What only the making of a voice needs."""

CANGJIE_FILE: Final = "Cangjie5_TC.json"
"""Multilingual's table from Chinese characters to the codes that its tokenizer knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFile:
    """Where a module's weights are: a file, and what stands before the module's own names in it.

    `optional_keys` (computed when they are absent) and `unused_keys` (in the file, in no network) are names as in the
    file.
    """

    module: ModuleName
    file: str
    prefix: str = ""
    optional_keys: frozenset[str] = frozenset()
    unused_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLayout:
    """One model's folder. `vocabulary` is the number of text tokens that its T3 was made for.

    `optional_files` add something (a voice, a language) and may be absent.
    """

    model: ChatterboxModel
    repository: str
    modules: tuple[ModuleFile, ...]
    tokenizer_files: tuple[str, ...]
    vocabulary: int
    optional_files: tuple[str, ...] = (CONDITIONALS_FILE,)

    @property
    def weight_files(self) -> tuple[str, ...]:
        """Files of weights, each once, T3's first."""
        return tuple(dict.fromkeys(each.file for each in self.modules))

    @property
    def required_files(self) -> tuple[str, ...]:
        """Files without which nothing can be loaded."""
        return self.weight_files + self.tokenizer_files

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that upstream asks its repository for."""
        return self.required_files + self.optional_files

    def module_file(self, module: ModuleName) -> ModuleFile:
        """Return where a module's weights are."""
        return next(each for each in self.modules if each.module == module)

    def modules_in(self, file: str) -> tuple[ModuleFile, ...]:
        """Return the modules whose weights are in one file."""
        return tuple(each for each in self.modules if each.file == file)


def _modules(
    model: ChatterboxModel, *, t3: str, s3gen: str, voice_encoder: str, computed: bool = False
) -> tuple[ModuleFile, ...]:
    files = dict.fromkeys(WEIGHTS_PREFIX, s3gen) | {VOICE_ENCODER: voice_encoder}
    return (
        ModuleFile(module=T3, file=t3, unused_keys=UNUSED_KEYS[model]),
        *(
            ModuleFile(
                module=name,
                file=files[name],
                prefix=prefix,
                optional_keys=frozenset(f"{prefix}{key}" for key in COMPUTED_KEYS.get(name, ()) if computed),
            )
            for name, prefix in WEIGHTS_PREFIX.items()
        ),
    )


LAYOUTS: Final = {
    ChatterboxModel.ENGLISH: ModelLayout(
        model=ChatterboxModel.ENGLISH,
        repository="ResembleAI/chatterbox",
        modules=_modules(
            ChatterboxModel.ENGLISH,
            t3="t3_cfg.safetensors",
            s3gen="s3gen.safetensors",
            voice_encoder="ve.safetensors",
            computed=True,
        ),
        tokenizer_files=("tokenizer.json",),
        vocabulary=704,
    ),
    ChatterboxModel.MULTILINGUAL: ModelLayout(
        model=ChatterboxModel.MULTILINGUAL,
        repository="ResembleAI/chatterbox",
        modules=_modules(
            ChatterboxModel.MULTILINGUAL, t3="t3_mtl23ls_v2.safetensors", s3gen="s3gen.pt", voice_encoder="ve.pt"
        ),
        tokenizer_files=("grapheme_mtl_merged_expanded_v1.json",),
        vocabulary=2_454,
        optional_files=(CONDITIONALS_FILE, CANGJIE_FILE),
    ),
    ChatterboxModel.TURBO: ModelLayout(
        model=ChatterboxModel.TURBO,
        repository="ResembleAI/chatterbox-turbo",
        modules=_modules(
            ChatterboxModel.TURBO,
            t3="t3_turbo_v1.safetensors",
            s3gen="s3gen_meanflow.safetensors",
            voice_encoder="ve.safetensors",
        ),
        tokenizer_files=("tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"),
        vocabulary=50_276,
        optional_files=(CONDITIONALS_FILE, "special_tokens_map.json"),
    ),
}
"""The three folders. Vocabularies: `text_tokens_dict_size` of upstream's configurations."""


def build_network(module: ModuleName, model: ChatterboxModel, size: NetworkSize) -> torch.nn.Module:
    """Return one module's network without memory for its weights."""
    meanflow = model is ChatterboxModel.TURBO
    match module:
        case t3_network.T3:
            return t3_network.build_t3(model, size)
        case s3gen_network.S3GEN_FLOW:
            return s3gen_network.build_flow(size, meanflow=meanflow)
        case s3gen_network.S3GEN_VOCODER:
            return s3gen_network.build_vocoder(size)
        case s3gen_network.S3GEN_TOKENIZER:
            return s3gen_network.build_tokenizer(size)
        case s3gen_network.S3GEN_SPEAKER_ENCODER:
            return s3gen_network.build_speaker_encoder(size)
        case s3gen_network.VOICE_ENCODER:
            return s3gen_network.build_voice_encoder(size)
        case _:
            raise AssertionError(f"no network is called {module}")
