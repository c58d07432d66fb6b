"""T3 as it is built: upstream's structure and names, no memory for weights, nothing left behind."""

import copy
import warnings
from typing import Any

import pytest
import torch

from benchmarks.upstream_t3 import upstream_twin
from tests.fakes.tiny_t3 import tiny_t3, tiny_text, tiny_voice
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.t3_network import UNUSED_KEYS, UNUSED_SHAPES, build_t3, t3_hyper_parameters
from tts_service.models.chatterbox.upstream import quiet, upstream

every_model = pytest.mark.parametrize("model", ChatterboxModel)
every_size = pytest.mark.parametrize("size", NetworkSize)


def _upstream_shapes(model: ChatterboxModel) -> dict[str, torch.Size]:
    """Return the names and shapes of upstream's network of full size."""
    with quiet(), torch.device("meta"):
        t3 = upstream("models.t3").T3(t3_hyper_parameters(model, NetworkSize.FULL))
    return {name: value.shape for name, value in t3.state_dict().items()}


def _shapes(t3: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in t3.state_dict().items()}


@every_model
def test_full_network_has_upstreams_names_and_shapes(model: ChatterboxModel) -> None:
    """What upstream's file holds is what the network takes, but for what upstream deletes after loading."""
    expected = {name: shape for name, shape in _upstream_shapes(model).items() if name not in UNUSED_KEYS[model]}

    assert expected == _shapes(build_t3(model, NetworkSize.FULL))


@pytest.mark.parametrize(
    ("model", "mebibytes"),
    [(ChatterboxModel.ENGLISH, 2031), (ChatterboxModel.MULTILINGUAL, 2045), (ChatterboxModel.TURBO, 1630)],
)
def test_full_network_weighs_what_was_measured(model: ChatterboxModel, mebibytes: int) -> None:
    """The sizes are those of upstream's loaded models."""
    weights = build_t3(model, NetworkSize.FULL).parameters()

    assert mebibytes == round(sum(each.nbytes for each in weights) / 2**20)


@every_model
def test_tiny_network_has_the_names_of_its_layers_and_full_vocabularies(model: ChatterboxModel) -> None:
    """Tiny differs in widths and in how many layers there are, and in nothing else."""
    full, tiny = _shapes(build_t3(model, NetworkSize.FULL)), _shapes(build_t3(model, NetworkSize.TINY))
    rows = ("text_emb.weight", "speech_emb.weight", "text_head.weight", "speech_head.weight")

    assert set(tiny) < set(full)
    assert {name for name in full if ".29." not in name and not _is_of_a_left_out_layer(name, tiny)} == set(tiny)
    assert [full[name][0] for name in rows] == [tiny[name][0] for name in rows]


def _is_of_a_left_out_layer(name: str, tiny: dict[str, torch.Size]) -> bool:
    parts = name.split(".")
    prefix = ".".join(parts[:3]) + "."
    return parts[1] in {"layers", "h"} and not any(each.startswith(prefix) for each in tiny)


@every_model
@every_size
def test_built_network_takes_no_memory_but_for_what_is_computed(model: ChatterboxModel, size: NetworkSize) -> None:
    """Weights are on the meta device, frozen and in evaluation mode; buffers are real."""
    t3 = build_t3(model, size)

    assert all(each.is_meta and not each.requires_grad for each in t3.parameters())
    assert not any(each.is_meta for each in t3.buffers())
    assert not t3.training


@pytest.mark.parametrize("model", [ChatterboxModel.ENGLISH, ChatterboxModel.MULTILINGUAL])
def test_rotary_frequencies_are_upstreams(model: ChatterboxModel) -> None:
    """What no file holds is computed as upstream's constructor does."""
    t3: Any = build_t3(model, NetworkSize.FULL)
    expected = upstream_twin(t3).tfmr.rotary_emb.inv_freq

    assert torch.equal(expected, t3.tfmr.rotary_emb.inv_freq)
    assert 32 == len(expected)


def test_building_leaves_upstreams_own_numbers_alone() -> None:
    """Upstream's dictionary keeps its entries, and gets the tiny ones once."""
    numbers = upstream("models.t3.llama_configs").LLAMA_CONFIGS
    own = {name: copy.deepcopy(numbers[name]) for name in ("Llama_520M", "GPT2_medium")}
    for model in ChatterboxModel:
        build_t3(model, NetworkSize.TINY)
    names = set(numbers)
    for model in ChatterboxModel:
        build_t3(model, NetworkSize.TINY)

    assert own == {name: numbers[name] for name in own}
    assert names == set(numbers)
    assert {"greenroom_tiny_english", "greenroom_tiny_multilingual", "greenroom_tiny_turbo"} == names - set(own)


@every_model
def test_tiny_multilingual_alone_has_the_heads_that_follow_the_text(model: ChatterboxModel) -> None:
    """The alignment guard looks at head 15 of layer 12, so that Multilingual has as many when it is tiny."""
    t3: Any = build_t3(model, NetworkSize.TINY)
    is_multilingual: bool = t3.hp.is_multilingual

    assert (model is ChatterboxModel.MULTILINGUAL) == is_multilingual
    if is_multilingual:
        assert 14 == len(t3.tfmr.layers)
        assert 16 == t3.cfg.num_attention_heads


@every_size
def test_deleted_embedding_has_the_shape_of_turbos_vocabulary(size: NetworkSize) -> None:
    """A file in upstream's layout holds `wte`, as wide as the network and as long as its vocabulary."""
    t3: Any = build_t3(ChatterboxModel.TURBO, size)

    assert UNUSED_SHAPES[size] == (t3.cfg.vocab_size, t3.dim)
    assert not hasattr(t3.tfmr, "wte")


def test_perceivers_attention_equals_upstreams() -> None:
    """The attention that was put in gives what upstream's fused path gives."""
    perceiver = tiny_t3(ChatterboxModel.ENGLISH).cond_enc.perceiver
    theirs = copy.deepcopy(perceiver)
    theirs.attn.attention = upstream("models.t3.modules.perceiver").AttentionQKV(4, 16, flash=True).eval()
    prompt = torch.randn(1, 150, 64, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # The choice of kernels by context, which upstream uses.
        expected = theirs(prompt)

    assert torch.allclose(expected, perceiver(prompt), atol=1e-5)


def _conditioning(model: ChatterboxModel) -> Any:
    voice = tiny_voice(model)
    made: Any = upstream("models.t3.modules.cond_enc").T3Cond(
        speaker_emb=voice.speaker[None],
        cond_prompt_speech_tokens=voice.tokens[None],
        emotion_adv=torch.full((1, 1, 1), 0.6),
    )
    return made


@every_model
def test_prompts_embeddings_are_upstreams(model: ChatterboxModel) -> None:
    """Voice, text and start of speech, with guidance where the model has it, bit by bit."""
    ours = tiny_t3(model)
    theirs = upstream_twin(ours)
    text = tiny_text(model).expand(2, -1)
    start = torch.full_like(text[:, :1], ours.hp.start_speech_token)
    made, expected = (
        t3.prepare_input_embeds(t3_cond=_conditioning(model), text_tokens=text, speech_tokens=start, cfg_weight=0.5)
        for t3 in (ours, theirs)
    )

    assert expected[1] == made[1]
    assert torch.equal(expected[0], made[0])


@every_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_backbones_parts_give_transformers_bits(model: ChatterboxModel, dtype: torch.dtype) -> None:
    """Each part of a layer that computes, in both types that T3 runs in."""
    ours = copy.deepcopy(tiny_t3(model)).to(dtype)
    theirs = upstream_twin(ours)
    hidden = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(2)).to(dtype)
    names = ("ln_1", "mlp", "attn.c_attn") if ours.is_gpt else ("input_layernorm", "mlp")
    ours_layer, theirs_layer = ((t3.tfmr.h if t3.is_gpt else t3.tfmr.layers)[0] for t3 in (ours, theirs))
    for name in names:
        assert torch.equal(theirs_layer.get_submodule(name)(hidden), ours_layer.get_submodule(name)(hidden))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotations_give_transformers_bits(dtype: torch.dtype) -> None:
    """Frequencies stay float32, whatever the type of what is turned."""
    ours = tiny_t3(ChatterboxModel.ENGLISH).tfmr.rotary_emb
    theirs = upstream_twin(tiny_t3(ChatterboxModel.ENGLISH)).tfmr.rotary_emb
    hidden, places = torch.zeros(2, 5, 64, dtype=dtype), torch.arange(700, 705)[None]
    turns = zip(theirs(hidden, places), ours(hidden, places), strict=True)

    assert all(torch.equal(expected, made) and made.dtype == dtype for expected, made in turns)


def test_networks_names_have_upstreams_order() -> None:
    """A master lays tensors out in the order of their names, and neighbours are multiplied at once."""
    ours = build_t3(ChatterboxModel.ENGLISH, NetworkSize.FULL)

    assert list(_upstream_shapes(ChatterboxModel.ENGLISH)) == list(ours.state_dict())
