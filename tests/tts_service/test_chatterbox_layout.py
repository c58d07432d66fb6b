"""That our picture of upstream's folders is upstream's own."""

import inspect
from typing import Any

import pytest
import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import LAYOUTS, build_network
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import VOICE_ENCODER
from tts_service.models.chatterbox.synthetic_modules import SyntheticModel
from tts_service.models.chatterbox.t3_network import T3, t3_hyper_parameters
from tts_service.models.chatterbox.upstream import quiet, upstream

SOURCES = {
    ChatterboxModel.ENGLISH: "tts",
    ChatterboxModel.MULTILINGUAL: "mtl_tts",
    ChatterboxModel.TURBO: "tts_turbo",
}

EVERY_MODEL = pytest.mark.parametrize("model", ChatterboxModel)


def _upstream_networks(model: ChatterboxModel) -> dict[str, Any]:
    """Return upstream's own full networks by file, built as its loaders build them."""
    layout = LAYOUTS[model]
    with quiet(), torch.device("meta"):
        return {
            layout.module_file(T3).file: upstream("models.t3").T3(t3_hyper_parameters(model, NetworkSize.FULL)),
            layout.modules[1].file: upstream("models.s3gen").S3Gen(meanflow=model is ChatterboxModel.TURBO),
            layout.module_file(VOICE_ENCODER).file: upstream("models.voice_encoder").VoiceEncoder(),
        }


@EVERY_MODEL
def test_files_are_those_that_upstream_names(model: ChatterboxModel) -> None:
    """Every file of weights, and the voice, stands in upstream's own loader."""
    source = inspect.getsource(upstream(SOURCES[model]))

    assert [] == [file for file in (*LAYOUTS[model].weight_files, "conds.pt") if f'"{file}"' not in source]


@EVERY_MODEL
def test_repository_is_upstreams(model: ChatterboxModel) -> None:
    """What is asked of the hub is what upstream asks."""
    assert upstream(SOURCES[model]).REPO_ID == LAYOUTS[model].repository


@EVERY_MODEL
def test_vocabulary_is_that_of_the_network(model: ChatterboxModel) -> None:
    """The tokenizer is checked against the number of rows that T3's embedding has."""
    assert t3_hyper_parameters(model, NetworkSize.FULL).text_tokens_dict_size == LAYOUTS[model].vocabulary


@EVERY_MODEL
def test_full_size_folder_holds_exactly_what_upstream_loads(model: ChatterboxModel) -> None:
    """Names, types and shapes of every file are those of upstream's networks, but for what it lets be absent."""
    made = SyntheticModel(model=model, size=NetworkSize.FULL, seed=0)
    optional = {key for place in LAYOUTS[model].modules for key in place.optional_keys}
    expected = {
        file: {key: (each.shape, each.dtype) for key, each in network.state_dict().items() if key not in optional}
        for file, network in _upstream_networks(model).items()
    }
    actual = {
        file: {key: (each.shape, each.dtype) for key, each in made.wanted(file).items()}
        for file in LAYOUTS[model].weight_files
    }

    assert expected == actual


def test_only_english_may_leave_out_what_upstream_declares() -> None:
    """Upstream's declaration counts where upstream loads without `strict`."""
    declared = set(upstream("models.s3gen").S3Gen.ignore_state_dict_missing)
    optional = {
        model: {key for place in layout.modules for key in place.optional_keys} for model, layout in LAYOUTS.items()
    }

    assert {
        ChatterboxModel.ENGLISH: declared,
        ChatterboxModel.MULTILINGUAL: set(),
        ChatterboxModel.TURBO: set(),
    } == optional


@EVERY_MODEL
def test_no_network_shares_a_weight_under_two_names(model: ChatterboxModel) -> None:
    """Each name has memory of its own, so that a file needs no rule for ties."""
    for place in LAYOUTS[model].modules:
        network = build_network(place.module, model, NetworkSize.TINY)
        named = list(network.named_parameters(remove_duplicate=False))

        assert len({id(each) for _, each in named}) == len(named)
