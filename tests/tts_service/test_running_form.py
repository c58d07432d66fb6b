"""The form of running weights: types by name, orders of dimensions, and neighbours that are one matrix."""

from collections.abc import Sequence

import pytest
import torch

from tests.fakes.torch_networks import TinyNetwork
from tts_service.models.chatterbox.running_form import (
    AS_TRAINED,
    RunningForm,
    TensorForm,
    adjacent,
    packed,
    running_dtype,
)
from tts_service.types import Precision

WIDTH = 128


class Attention(torch.nn.Module):
    """Three matrices in a row with a bias behind the second, a convolution, and a table that is computed."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.query = torch.nn.Linear(WIDTH, 2 * WIDTH, bias=False)
            self.key = torch.nn.Linear(WIDTH, WIDTH)
            self.value = torch.nn.Linear(WIDTH, WIDTH, bias=False)
            self.convolution = torch.nn.Conv1d(3, 5, 7)
        self.register_buffer("inv_freq", torch.linspace(0, 1, 8), persistent=False)
        self.register_buffer("steps", torch.tensor(3))
        self.requires_grad_(requires_grad=False)


def _biases_last(names: Sequence[str]) -> Sequence[str]:
    return sorted(names, key=lambda name: name.endswith("bias"))


def _output_last(name: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    return (0, 2, 1) if name == "convolution.weight" and len(shape) == 3 else None


def test_tensor_keeps_its_file_s_type_where_no_form_says_otherwise() -> None:
    """What is fp32 follows the precision, but for rotary frequencies; all else stays what it is."""
    form = RunningForm(precision=Precision.BF16)
    types = [
        form.of_tensor(name, dtype, (2,)).dtype
        for name, dtype in [
            ("weight", torch.float32),
            ("weight", torch.float16),
            ("steps", torch.int64),
            ("weight", torch.float64),
            ("rotary.inv_freq", torch.float32),
        ]
    ]

    assert [torch.bfloat16, torch.float16, torch.int64, torch.float64, torch.float32] == types


@pytest.mark.parametrize("precision", list(Precision))
def test_packed_network_is_the_same_network(precision: Precision) -> None:
    """Names and shapes stay, values are those of a cast, and all tensors are in one piece of memory."""
    plain, network = Attention(), Attention()
    form = RunningForm(precision=precision, stays_fp32=lambda name: name in {"key.bias", "inv_freq"})
    same = packed(network, form)
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    expected = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}

    assert same is network
    assert list(plain.state_dict()) == list(network.state_dict())
    assert all(torch.equal(expected[name].to(each.dtype), each) for name, each in named.items())
    assert torch.float32 == named["key.bias"].dtype == named["inv_freq"].dtype
    assert 1 == len({each.untyped_storage().data_ptr() for each in named.values()})
    assert {0} == {each.data_ptr() % 64 for each in named.values()}


def test_packed_network_computes_the_same() -> None:
    """To rounding, whatever the order in memory: kernels go by it."""
    plain, network = Attention(), Attention()
    packed(network, RunningForm(memory_order=_output_last, arranged=_biases_last))
    sound = torch.linspace(-1, 1, 60).reshape(1, 3, 20)

    assert torch.allclose(plain.convolution(sound), network.convolution(sound), atol=1e-6)


def test_tied_weights_stay_tied_in_a_packed_network() -> None:
    """A weight with two names is there once."""
    network = TinyNetwork(16, 1)
    packed(network, RunningForm(precision=Precision.BF16))

    assert network.head.weight.data_ptr() == network.embedding.weight.data_ptr()
    assert torch.bfloat16 == running_dtype(network)


def test_order_of_dimensions_is_that_of_memory() -> None:
    """A convolution's weight (out, in, k), kept as (out, k, in), is one matrix (out, k in) without a copy."""
    network = Attention()
    before = network.convolution.weight.clone()
    packed(network, RunningForm(memory_order=_output_last))
    weight = network.convolution.weight
    matrix = weight.permute(0, 2, 1).reshape(5, 7 * 3)

    assert torch.equal(before, weight)
    assert (weight.data_ptr(), True) == (matrix.data_ptr(), weight.permute(0, 2, 1).is_contiguous())


def test_order_that_leaves_out_a_dimension_is_refused() -> None:
    """Nothing is read from the wrong places."""
    with pytest.raises(AssertionError, match="no order of 3 dimensions"):
        TensorForm(dtype=torch.float32, memory_order=(0, 2)).empty_in(torch.zeros(24, dtype=torch.uint8), (1, 2, 3))


@pytest.mark.parametrize("precision", list(Precision))
def test_neighbours_are_one_matrix(precision: Precision) -> None:
    """What is computed with it is what each computes, and it is no copy."""
    network = Attention()
    packed(network, RunningForm(precision=precision, arranged=_biases_last))
    weights = (network.query.weight, network.key.weight, network.value.weight)
    joined = adjacent(weights)

    assert joined is not None
    assert (4 * WIDTH, WIDTH) == tuple(joined.shape)
    assert torch.equal(torch.cat(weights), joined)
    assert joined.data_ptr() == network.query.weight.data_ptr()
    assert not joined.requires_grad


def test_neighbouring_vectors_are_one_vector() -> None:
    """Biases join as matrices do."""
    memory = torch.arange(12.0)

    joined = adjacent((memory[2:5], memory[5:9]))

    assert joined is not None
    assert memory[2:9].tolist() == joined.tolist()


def _matrices() -> tuple[torch.Tensor, torch.Tensor]:
    memory = torch.arange(32.0)
    return memory[:16].view(4, 4), memory[16:].view(4, 4)


FIRST, SECOND = _matrices()


@pytest.mark.parametrize(
    "weights",
    [
        (FIRST, SECOND[1:]),
        (SECOND, FIRST),
        (FIRST, SECOND.clone()),
        (FIRST, SECOND.view(2, 8)),
        (FIRST, SECOND.view(torch.int32)),
        (FIRST, SECOND.t()),
        (FIRST.t(), SECOND),
        (FIRST.to("meta"), SECOND.to("meta")),
    ],
    ids=["gap", "turned round", "elsewhere", "other columns", "other type", "transposed", "first transposed", "meta"],
)
def test_others_are_no_one_matrix(weights: Sequence[torch.Tensor]) -> None:
    """Whatever is not exactly one matrix is none."""
    assert adjacent(weights) is None


def test_one_weight_is_its_own_matrix() -> None:
    """A single one has no gaps."""
    joined = adjacent((FIRST,))

    assert joined is not None
    assert torch.equal(FIRST, joined)


def test_form_as_trained_is_fp32() -> None:
    """Nothing is cast unless it is asked for."""
    assert torch.float32 == running_dtype(packed(Attention(), AS_TRAINED))


def test_arrangement_that_forgets_a_name_is_refused() -> None:
    """A tensor without a place would be one without values."""
    with pytest.raises(AssertionError, match="arranges every tensor"):
        packed(Attention(), RunningForm(arranged=lambda names: names[1:]))
