"""Builds the networks that turn speech tokens into sound, and those that turn reference audio into a voice.

Rules
* Each network is one module that moves on its own, built without memory for its weights (on torch's meta device).
  A loader gives them theirs; the names are those of upstream's files, less the prefix in `WEIGHTS_PREFIX`.
* Everything that is computed and not loaded is there from the start, on the CPU, as a buffer: `tables` lists it.
  Upstream keeps most of it as plain attributes, which nothing moves, and so does this file not.
* TINY has upstream's structure and frame arithmetic (25 tokens and 50 frames of 80 mels a second, 480 samples a
  frame, and every kernel's reach) with few channels and blocks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.upstream import late_import, upstream, without_weights
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, ModuleName

S3GEN_FLOW: Final = ModuleName("s3gen.flow")
S3GEN_VOCODER: Final = ModuleName("s3gen.vocoder")
S3GEN_TOKENIZER: Final = ModuleName("s3gen.tokenizer")
S3GEN_SPEAKER_ENCODER: Final = ModuleName("s3gen.speaker_encoder")
VOICE_ENCODER: Final = ModuleName("voice_encoder")

WEIGHTS_PREFIX: Final = {
    S3GEN_FLOW: "flow.",
    S3GEN_VOCODER: "mel2wav.",
    S3GEN_TOKENIZER: "tokenizer.",
    S3GEN_SPEAKER_ENCODER: "speaker_encoder.",
    VOICE_ENCODER: "",
}
"""What stands before a module's names in upstream's file: `s3gen.safetensors` (Turbo: `s3gen_meanflow.safetensors`)
for those of S3Gen, `ve.safetensors` for the voice encoder."""

COMPUTED_KEYS: Final = {S3GEN_TOKENIZER: frozenset({"_mel_filters", "window"})}
"""Names that a file may leave out (upstream's `ignore_state_dict_missing`): they are computed as a module is built."""

MAX_FLOW_TOKENS: Final = 1_280
"""The longest input of the flow, prompt included: upstream's own limits are 1004 tokens and a prompt of 250.

It bounds the tables of positions: 16 MiB at full size, where upstream keeps 39.
"""

MEL_BANDS: Final = 80
SPEAKER_VALUES: Final = 192
"""Values of CAMPPlus's x-vector, which the flow takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Widths:
    """What differs between the sizes. Full: upstream's constructors' arguments in `s3gen.py`."""

    encoder_channels: int
    encoder_heads: int
    encoder_linear_units: int
    encoder_blocks: int
    encoder_upsampled_blocks: int
    estimator_channels: int
    estimator_head_channels: int
    estimator_heads: int
    estimator_blocks: int
    estimator_mid_blocks: int
    vocoder_channels: int
    f0_channels: int
    tokenizer_channels: int
    tokenizer_blocks: int
    speaker_growth: int
    speaker_first_channels: int
    voice_hidden: int


_WIDTHS: Final = {
    NetworkSize.FULL: _Widths(
        encoder_channels=512,
        encoder_heads=8,
        encoder_linear_units=2048,
        encoder_blocks=6,
        encoder_upsampled_blocks=4,
        estimator_channels=256,
        estimator_head_channels=64,
        estimator_heads=8,
        estimator_blocks=4,
        estimator_mid_blocks=12,
        vocoder_channels=512,
        f0_channels=512,
        tokenizer_channels=1280,
        tokenizer_blocks=6,
        speaker_growth=32,
        speaker_first_channels=128,
        voice_hidden=256,
    ),
    NetworkSize.TINY: _Widths(
        encoder_channels=32,
        encoder_heads=2,
        encoder_linear_units=64,
        encoder_blocks=1,
        encoder_upsampled_blocks=1,
        estimator_channels=32,
        estimator_head_channels=16,
        estimator_heads=2,
        estimator_blocks=1,
        estimator_mid_blocks=1,
        vocoder_channels=32,
        f0_channels=16,
        tokenizer_channels=64,
        tokenizer_blocks=1,
        speaker_growth=4,
        speaker_first_channels=16,
        voice_hidden=16,
    ),
}

_TOKENIZER_WINDOW: Final = 400
"""Samples of S3Tokenizer's window, `n_fft` in upstream's constructor."""

_ROTARY_CHANNELS: Final = 64
"""Channels of a head of S3Tokenizer: its table of rotations has no other width."""


def build_flow(size: NetworkSize, *, meanflow: bool) -> torch.nn.Module:
    """Return the network from tokens to mel: embedding, conformer encoder and flow estimator.

    `meanflow` is Turbo's: two steps and no guidance, with one weight more (`time_embed_mixer`).
    """
    widths = _WIDTHS[size]
    with without_weights("cpu"):  # Attention's biases are made by a constructor that knows no default device.
        encoder = _encoder(widths).to("meta")
    with without_weights():
        decoder = upstream("models.s3gen.flow_matching").CausalConditionalCFM(
            spk_emb_dim=MEL_BANDS, estimator=_estimator(widths, meanflow=meanflow)
        )
        flow = upstream("models.s3gen.flow").CausalMaskedDiffWithXvec(
            input_size=widths.encoder_channels, encoder=encoder, decoder=decoder
        )
    _keep_positions(encoder.embed.pos_enc, MAX_FLOW_TOKENS)
    _keep_positions(encoder.up_embed.pos_enc, MAX_FLOW_TOKENS * flow.token_mel_ratio)
    return _frozen(flow)


def build_vocoder(size: NetworkSize) -> torch.nn.Module:
    """Return the network from mel to waveform, upstream's `mel2wav`, with its f0 predictor."""
    widths = _WIDTHS[size]
    with without_weights("cpu"):
        predictor = upstream("models.s3gen.f0_predictor").ConvRNNF0Predictor(cond_channels=widths.f0_channels)
        vocoder = upstream("models.s3gen.hifigan").HiFTGenerator(
            sampling_rate=MODEL_SAMPLE_RATE_HERTZ,
            base_channels=widths.vocoder_channels,
            upsample_rates=[8, 5, 3],
            upsample_kernel_sizes=[16, 11, 7],
            source_resblock_kernel_sizes=[7, 7, 11],
            source_resblock_dilation_sizes=[[1, 3, 5], [1, 3, 5], [1, 3, 5]],
            f0_predictor=predictor,
        )
    vocoder.to("meta")
    _as_buffer(vocoder, "stft_window", vocoder.stft_window)
    return _frozen(vocoder)


def build_tokenizer(size: NetworkSize) -> torch.nn.Module:
    """Return the network from reference audio to speech tokens, S3Tokenizer v2."""
    widths = _WIDTHS[size]
    sound = upstream("models.s3tokenizer.s3tokenizer")
    with without_weights("cpu"):
        # Upstream's constructor, but for its call of librosa.
        tokenizer = sound.S3Tokenizer.__new__(sound.S3Tokenizer)
        sound.S3TokenizerV2.__init__(tokenizer, "speech_tokenizer_v2_25hz")
        tokenizer.n_fft = _TOKENIZER_WINDOW
        if size is NetworkSize.TINY:
            _narrow_tokenizer(tokenizer, widths)
    tokenizer.to("meta")
    rotations = _s3_model().precompute_freqs_cis(_ROTARY_CHANNELS, len(tokenizer.encoder.freqs_cis))
    _as_buffer(tokenizer.encoder, "freqs_cis", rotations)
    tokenizer.register_buffer("_mel_filters", _mel_filters(tokenizer.config.n_mels))
    tokenizer.register_buffer("window", torch.hann_window(tokenizer.n_fft))
    return _frozen(tokenizer)


def build_speaker_encoder(size: NetworkSize) -> torch.nn.Module:
    """Return the network from reference audio to the x-vector that the flow takes, CAMPPlus."""
    widths = _WIDTHS[size]
    with without_weights():
        encoder = upstream("models.s3gen.xvector").CAMPPlus(
            embedding_size=SPEAKER_VALUES,
            growth_rate=widths.speaker_growth,
            init_channels=widths.speaker_first_channels,
            memory_efficient=False,
        )
    return _frozen(encoder)


def build_voice_encoder(size: NetworkSize) -> torch.nn.Module:
    """Return the network from reference audio to the speaker embedding that T3 takes."""
    hyper_parameters = upstream("models.voice_encoder.config").VoiceEncConfig()
    hyper_parameters.ve_hidden_size = _WIDTHS[size].voice_hidden
    with without_weights():
        encoder = upstream("models.voice_encoder.voice_encoder").VoiceEncoder(hyper_parameters)
    return _frozen(encoder)


def tables(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what is computed when a module is built and not loaded, by its dotted name.

    flow: `encoder.embed.pos_enc.pe`, `encoder.up_embed.pos_enc.pe`; vocoder: `stft_window`; tokenizer:
    `encoder.freqs_cis`, and `_mel_filters` and `window`, which its state dict also names.
    """
    return {name: buffer for name, buffer in module.named_buffers() if not buffer.is_meta}


def _encoder(widths: _Widths) -> Any:
    """Return the conformer; upstream's code says 512 channels and 4 upsampled blocks, so those parts are replaced."""
    made = upstream("models.s3gen.transformer.upsample_encoder")
    channels = widths.encoder_channels
    encoder = made.UpsampleConformerEncoder(
        input_size=channels,
        output_size=channels,
        attention_heads=widths.encoder_heads,
        linear_units=widths.encoder_linear_units,
        num_blocks=widths.encoder_blocks,
        normalize_before=True,
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        use_cnn_module=False,
        macaron_style=False,
    )
    encoder.pre_lookahead_layer = made.PreLookaheadLayer(channels=channels, pre_lookahead_len=3)
    encoder.up_layer = made.Upsample1D(channels=channels, out_channels=channels, stride=2)
    encoder.up_encoders = encoder.up_encoders[: widths.encoder_upsampled_blocks]
    return encoder


def _estimator(widths: _Widths, *, meanflow: bool) -> Any:
    return upstream("models.s3gen.decoder").ConditionalDecoder(
        in_channels=4 * MEL_BANDS,  # What is being made, the encoder's output, the speaker and the prompt.
        out_channels=MEL_BANDS,
        causal=True,
        channels=[widths.estimator_channels],
        dropout=0.0,
        attention_head_dim=widths.estimator_head_channels,
        n_blocks=widths.estimator_blocks,
        num_mid_blocks=widths.estimator_mid_blocks,
        num_heads=widths.estimator_heads,
        act_fn="gelu",
        meanflow=meanflow,
    )


def _narrow_tokenizer(tokenizer: Any, widths: _Widths) -> None:
    """Replace the parts of a tokenizer: upstream's constructor drops the configuration that it is given."""
    made, channels = _s3_model(), widths.tokenizer_channels
    config = made.ModelConfig(
        n_audio_state=channels, n_audio_head=channels // _ROTARY_CHANNELS, n_audio_layer=widths.tokenizer_blocks
    )
    tokenizer.config = config
    tokenizer.encoder = made.AudioEncoderV2(
        config.n_mels, channels, config.n_audio_head, config.n_audio_layer, 2, config.use_sdpa
    )
    tokenizer.quantizer = made.FSQVectorQuantization(channels, config.n_codebook_size)


def _mel_filters(bands: int) -> torch.Tensor:
    """Return the filters (bands, frequencies) that the package brings along; librosa, 2 s to import, has the same."""
    path = Path(str(late_import("s3tokenizer").__file__)).parent / "assets" / "mel_filters.npz"
    with np.load(path, allow_pickle=False) as filters:
        return torch.from_numpy(filters[f"mel_{bands}"]).float()


def _s3_model() -> Any:
    return late_import("s3tokenizer.model_v2")


def _keep_positions(encoding: Any, positions: int) -> None:
    """Give a positional encoding its table for inputs up to this length; upstream's takes the middle of any longer."""
    encoding.pe = None
    encoding.extend_pe(torch.zeros(1, positions))
    _as_buffer(encoding, "pe", encoding.pe)


def _as_buffer(owner: Any, name: str, table: torch.Tensor) -> None:
    """Turn a plain attribute into a buffer that moves with its module and is in no state dict."""
    delattr(owner, name)
    owner.register_buffer(name, table, persistent=False)


def _frozen(module: Any) -> torch.nn.Module:
    frozen: torch.nn.Module = module.eval().requires_grad_(requires_grad=False)
    return frozen
