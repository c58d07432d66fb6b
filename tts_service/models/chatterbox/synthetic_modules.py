"""The weights of a synthetic model, file by file, and the voice that goes with them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import LAYOUTS, ModuleFile, build_network
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.planted_t3 import PlantedT3
from tts_service.models.chatterbox.planted_vocoder import calibration_mel, plant_vocoder
from tts_service.models.chatterbox.s3gen_network import MEL_BANDS, S3GEN_FLOW, S3GEN_VOCODER, SPEAKER_VALUES
from tts_service.models.chatterbox.synthetic_values import generator, synthetic_state, synthetic_value
from tts_service.models.chatterbox.t3_network import T3, UNUSED_SHAPES, t3_hyper_parameters
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS

PROMPT_TOKENS: Final = {NetworkSize.FULL: 150, NetworkSize.TINY: 50}
"""Of the voice's sound: 6 s and 2 s."""

CALIBRATION_TOKENS: Final = 60
VOICE_VALUES: Final = 256
MEL_SMOOTHING_FRAMES: Final = 9
MEL_DEVIATION: Final = 1.25
"""Of what random flows make, whatever their size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticModel:
    """A model's weights by seed."""

    model: ChatterboxModel
    size: NetworkSize
    seed: int

    def __str__(self) -> str:
        return f"synthetic {self.model} {self.size.value} seed {self.seed}"

    def wanted(self, file: str) -> dict[str, torch.Tensor]:
        """Return the names in a file, with types and shapes, on the meta device."""
        wanted: dict[str, torch.Tensor] = {}
        for place in LAYOUTS[self.model].modules_in(file):
            network = build_network(place.module, self.model, self.size)
            wanted |= {
                f"{place.prefix}{name}": torch.empty_like(value, device="meta")
                for name, value in network.state_dict().items()
                if f"{place.prefix}{name}" not in place.optional_keys
            }
            wanted |= {key: torch.empty(UNUSED_SHAPES[self.size], device="meta") for key in place.unused_keys}
        return wanted

    def tensors(self, file: str) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield a file's names and weights, in the order of `wanted`."""
        for place in LAYOUTS[self.model].modules_in(file):
            network = build_network(place.module, self.model, self.size)
            for name, value in self._module_tensors(place, network):
                if f"{place.prefix}{name}" not in place.optional_keys:
                    yield f"{place.prefix}{name}", value.contiguous()

    def conditionals(self) -> dict[str, dict[str, Any]]:
        """Return the model's own voice in upstream's form."""
        random = generator(self.seed, "conditionals")
        count = t3_hyper_parameters(self.model, self.size).speech_cond_prompt_len
        speaker = torch.randn(1, VOICE_VALUES, generator=random).relu()
        return {
            "t3": {
                "speaker_emb": speaker / speaker.norm(),
                "clap_emb": None,
                "cond_prompt_speech_tokens": torch.randint(CODEBOOK_TOKENS, (1, count), generator=random),
                "cond_prompt_speech_emb": None,
                "emotion_adv": torch.full((1, 1, 1), 0.5),
            },
            "gen": self._sound(random),
        }

    def _sound(self, random: torch.Generator) -> dict[str, Any]:
        tokens = PROMPT_TOKENS[self.size]
        noise = torch.randn(1, MEL_BANDS, 2 * tokens + MEL_SMOOTHING_FRAMES - 1, generator=random)
        slow = torch.nn.functional.avg_pool1d(noise, MEL_SMOOTHING_FRAMES, stride=1)
        return {
            "prompt_token": torch.randint(CODEBOOK_TOKENS, (1, tokens), generator=random),
            "prompt_token_len": torch.tensor([tokens]),
            "prompt_feat": (slow * MEL_DEVIATION * math.sqrt(MEL_SMOOTHING_FRAMES)).transpose(1, 2).contiguous(),
            "prompt_feat_len": None,
            "embedding": torch.randn(1, SPEAKER_VALUES, generator=random),
        }

    def _module_tensors(self, place: ModuleFile, network: Any) -> Iterator[tuple[str, torch.Tensor]]:
        match place.module:
            case "t3":
                yield from self._t3_tensors(place, network)
            case "s3gen.vocoder":
                yield from self._vocoder_state(network).items()
            case _:
                yield from self._random_state(place.module, network).items()

    def _t3_tensors(self, place: ModuleFile, network: Any) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield T3's weights one at a time; all of them are 2 GB."""
        planting = PlantedT3(self.model, backbone=network.cfg, seed=self.seed)
        for name, like in network.state_dict().items():
            yield name, planting.planted(name, synthetic_value(name, like, seed=self.seed, scope=T3))
        for key in sorted(place.unused_keys):
            like = torch.empty(UNUSED_SHAPES[self.size], device="meta")
            yield key, synthetic_value(key, like, seed=self.seed, scope=T3)

    def _vocoder_state(self, vocoder: Any) -> Mapping[str, torch.Tensor]:
        """Plant the vocoder, which takes the flow: it is made again, and nothing else is kept of it."""
        flow: Any = build_network(S3GEN_FLOW, self.model, self.size)
        flow.load_state_dict(self._random_state(S3GEN_FLOW, flow), assign=True)
        voice = self.conditionals()["gen"]
        meanflow = self.model is ChatterboxModel.TURBO
        mel = calibration_mel(flow, voice, tokens=CALIBRATION_TOKENS, meanflow=meanflow, seed=self.seed)
        vocoder.load_state_dict(self._random_state(S3GEN_VOCODER, vocoder), assign=True)
        plant_vocoder(vocoder, mel, seed=self.seed)
        state: Mapping[str, torch.Tensor] = vocoder.state_dict()
        return state

    def _random_state(self, module: str, network: torch.nn.Module) -> Mapping[str, torch.Tensor]:
        return synthetic_state(network, seed=self.seed, scope=module)
