"""The networks' names and shapes against upstream's, and what is computed rather than loaded."""

import functools
from typing import Any

import pytest
import torch

from tests.fakes.tiny_s3gen import randomised
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import (
    COMPUTED_KEYS,
    MAX_FLOW_TOKENS,
    S3GEN_FLOW,
    S3GEN_SPEAKER_ENCODER,
    S3GEN_TOKENIZER,
    S3GEN_VOCODER,
    VOICE_ENCODER,
    WEIGHTS_PREFIX,
    build_flow,
    build_speaker_encoder,
    build_tokenizer,
    build_vocoder,
    build_voice_encoder,
    tables,
)
from tts_service.models.chatterbox.upstream import quiet, upstream

FULL, TINY = NetworkSize.FULL, NetworkSize.TINY
MODELS = pytest.mark.parametrize("meanflow", [False, True], ids=["guided", "meanflow"])
SIZES = pytest.mark.parametrize("size", list(NetworkSize), ids=[size.value for size in NetworkSize])


def s3gen_modules(size: NetworkSize, *, meanflow: bool) -> dict[Any, torch.nn.Module]:
    """Return all that S3Gen's file holds."""
    return {
        S3GEN_FLOW: build_flow(size, meanflow=meanflow),
        S3GEN_VOCODER: build_vocoder(size),
        S3GEN_TOKENIZER: build_tokenizer(size),
        S3GEN_SPEAKER_ENCODER: build_speaker_encoder(size),
    }


def shapes(modules: dict[Any, torch.nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight by its name in upstream's file."""
    return {
        WEIGHTS_PREFIX[name] + key: tuple(value.shape)
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


@functools.cache
def upstream_shapes(*, meanflow: bool) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of upstream's own S3Token2Wav."""
    with quiet(), torch.device("meta"):
        whole = upstream("models.s3gen.s3gen").S3Token2Wav(meanflow=meanflow)
    return {key: tuple(value.shape) for key, value in whole.state_dict().items()}


@MODELS
def test_full_networks_have_exactly_upstreams_weights(meanflow: bool) -> None:  # noqa: FBT001 - a parameter.
    """Names and shapes of the four modules together are those of upstream's file: none missing, none extra."""
    ours = shapes(s3gen_modules(FULL, meanflow=meanflow))

    assert upstream_shapes(meanflow=meanflow) == ours


@MODELS
def test_tiny_networks_have_a_part_of_upstreams_names(meanflow: bool) -> None:  # noqa: FBT001 - a parameter.
    """A tiny network has fewer blocks, and no name that upstream's has not; Turbo's mixer is among them."""
    ours = shapes(s3gen_modules(TINY, meanflow=meanflow))

    assert ours.keys() < upstream_shapes(meanflow=meanflow).keys()
    assert meanflow == ("flow.decoder.estimator.time_embed_mixer.weight" in ours)


def test_voice_encoder_has_exactly_upstreams_weights() -> None:
    """The voice encoder's names and shapes are those of upstream's file."""
    with quiet(), torch.device("meta"):
        whole = upstream("models.voice_encoder.voice_encoder").VoiceEncoder()

    ours = shapes({VOICE_ENCODER: build_voice_encoder(FULL)})

    assert {key: tuple(value.shape) for key, value in whole.state_dict().items()} == ours


@SIZES
def test_networks_are_built_without_memory_for_their_weights(size: NetworkSize) -> None:
    """Every parameter is on the meta device, frozen, and everything is in evaluation mode."""
    modules = [*s3gen_modules(size, meanflow=True).values(), build_voice_encoder(size)]

    assert all(parameter.is_meta for module in modules for parameter in module.parameters())
    assert not any(parameter.requires_grad for module in modules for parameter in module.parameters())
    assert not any(part.training for module in modules for part in module.modules())


def test_tables_are_there_from_the_start() -> None:
    """What a file does not hold is computed when a module is built, on the CPU; the list is complete."""
    found = {name: sorted(tables(module)) for name, module in s3gen_modules(TINY, meanflow=False).items()}

    assert {
        S3GEN_FLOW: ["encoder.embed.pos_enc.pe", "encoder.up_embed.pos_enc.pe"],
        S3GEN_VOCODER: ["stft_window"],
        S3GEN_TOKENIZER: ["_mel_filters", "encoder.freqs_cis", "window"],
        S3GEN_SPEAKER_ENCODER: [],
    } == found


def test_no_tensor_is_a_plain_attribute() -> None:
    """Everything a module holds is a parameter or a buffer, so that a move takes all of it."""
    modules = [*s3gen_modules(TINY, meanflow=True).values(), build_voice_encoder(TINY)]
    parts = [part for module in modules for part in module.modules()]

    assert [] == [key for part in parts for key, value in vars(part).items() if isinstance(value, torch.Tensor)]


def test_loaded_networks_have_no_empty_buffer() -> None:
    """After a state dict without the computed names is loaded, nothing is left on the meta device."""
    generator = torch.Generator().manual_seed(1)
    for name, module in s3gen_modules(TINY, meanflow=True).items():
        state = {
            key: torch.zeros(value.shape, dtype=value.dtype)
            for key, value in module.state_dict().items()
            if key not in COMPUTED_KEYS.get(name, ())
        }
        missing = module.load_state_dict(state, strict=False, assign=True).missing_keys
        randomised(module, generator)

        assert COMPUTED_KEYS.get(name, frozenset()) == set(missing)
        assert not any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])


def test_tables_equal_upstreams() -> None:
    """The computed tables are what upstream's constructors compute; positions are the middle of its longer table."""
    reference = upstream("models.s3gen.transformer.embedding").EspnetRelPositionalEncoding(32, 0.0)
    encoding = build_flow(TINY, meanflow=False).encoder.embed.pos_enc

    for count in (1, 400, MAX_FLOW_TOKENS):
        expected = reference.position_encoding(size=count, offset=0)
        assert torch.equal(expected, encoding.position_encoding(size=count, offset=0))


@SIZES
def test_tokenizer_makes_25_tokens_a_second(size: NetworkSize) -> None:
    """Both sizes halve 100 frames a second twice; only the tiny one is run here."""
    tokenizer: Any = build_tokenizer(size)
    assert (2, 128, 6561) == (tokenizer.encoder.stride, tokenizer.config.n_mels, tokenizer.config.n_codebook_size)
    if size is TINY:
        tokenizer = randomised(tokenizer, torch.Generator().manual_seed(1))
        wave = torch.sin(torch.arange(32_000) / 20)[None]

        tokens, lengths = tokenizer(wave)

        assert (1, 50) == tokens.shape
        assert [50] == lengths.tolist()
        assert 0 <= tokens.min() <= tokens.max() < 6561


def test_tiny_voice_networks_give_what_their_readers_take() -> None:
    """The tiny encoders give 192 values for the flow and 256 of length 1 for T3."""
    generator = torch.Generator().manual_seed(1)
    speaker: Any = randomised(build_speaker_encoder(TINY), generator)
    voice: Any = randomised(build_voice_encoder(TINY), generator)
    wave = torch.randn(1, 32_000, generator=generator)

    with torch.inference_mode():
        x_vector = speaker.inference(wave)
        embedding = voice(torch.rand(2, 160, 40, generator=generator))

    assert (1, 192) == x_vector.shape
    assert torch.isfinite(x_vector).all()
    assert (2, 256) == embedding.shape
    torch.testing.assert_close(torch.ones(2), embedding.norm(dim=1))
