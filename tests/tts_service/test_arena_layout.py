"""Where tensors go in an arena: ties kept, nothing twice, a loader's memory as it is, recurrent weights together."""

from collections.abc import Callable

import pytest
import torch

from tests.fakes.torch_networks import MAKERS, PackedNetwork, TinyNetwork
from tts_service.residency.arena_layout import ArenaLayout, arena_layout
from tts_service.residency.module_tensors import ALIGNMENT_BYTES
from tts_service.residency.recurrent_layout import FlatWeights, cudnn_flattening, laid_anyhow

EVERY_KIND = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
ALL_PACKED, ALL_ADOPTED = 1 << 40, 0


def _laid_out(module: object, *, adopt_from_bytes: int = ALL_PACKED) -> ArenaLayout:
    return arena_layout(module, flattening=laid_anyhow, adopt_from_bytes=adopt_from_bytes)


def _together(network: torch.nn.RNNBase) -> FlatWeights:
    """Ask for a network's weights without gaps, the last first."""
    sizes = [each.nbytes for each in network.parameters()]
    return FlatWeights(offsets=tuple(sum(sizes[i + 1 :]) for i in range(len(sizes))), byte_count=sum(sizes))


def _image(layout: ArenaLayout) -> torch.Tensor:
    """Return what the parts put together."""
    image = torch.full((layout.byte_count,), 0xA5, dtype=torch.uint8)
    for part in (*layout.adopted, *layout.packed):
        image[part.begin : part.begin + part.host.nbytes] = part.host
    return image


def _values(layout: ArenaLayout) -> list[torch.Tensor]:
    """Return the tensors that the places cut out of the parts."""
    image = _image(layout)
    return [
        torch.empty(0, dtype=place.dtype).set_(
            image.untyped_storage(),
            (place.storage_begin + place.offset_bytes) // place.dtype.itemsize,
            place.shape,
            place.stride,
        )
        for place in layout.places
    ]


@EVERY_KIND
@pytest.mark.parametrize("adopt_from_bytes", [ALL_PACKED, 1024, ALL_ADOPTED])
def test_every_tensor_is_at_its_place(make: Callable[[], object], adopt_from_bytes: int) -> None:
    """What the parts put there is what the tensors hold, buffers that are not stored included."""
    layout = _laid_out(make(), adopt_from_bytes=adopt_from_bytes)

    assert all(map(torch.equal, layout.tensors, _values(layout)))


@EVERY_KIND
def test_places_are_aligned_and_parts_do_not_overlap(make: Callable[[], object]) -> None:
    """Every storage begins at a multiple of 512 bytes, and no byte is filled twice."""
    layout = _laid_out(make(), adopt_from_bytes=1024)
    ends = [0]
    for part in sorted((*layout.adopted, *layout.packed), key=lambda each: (each.begin, each.host.nbytes)):
        assert part.begin >= ends[-1]
        ends.append(part.begin + part.host.nbytes)

    assert {0} == {place.storage_begin % ALIGNMENT_BYTES for place in layout.places}
    assert layout.byte_count >= ends[-1]


def test_tied_weights_have_one_place_with_one_storage() -> None:
    """A weight under two names, and a transposed view of another, take no room of their own."""
    module = TinyNetwork(8, 1)
    layout = _laid_out(module)
    places = {id(tensor): place for tensor, place in zip(layout.tensors, layout.places, strict=True)}
    inner, mirror = places[id(module.inner.weight)], places[id(module.mirror)]
    storages = {(place.storage_begin, place.storage_bytes) for place in layout.places}

    assert (inner.storage_begin, inner.storage_bytes) == (mirror.storage_begin, mirror.storage_bytes)
    assert (
        sum(byte_count for _, byte_count in storages)
        == module.inner.weight.nbytes
        + sum(
            each.nbytes for each in (*module.embedding.parameters(), *module.recurrent.parameters(), *module.buffers())
        )
        + module.inner.bias.nbytes
    )


def test_memory_of_a_loader_is_copied_as_it_is() -> None:
    """One large piece that is full of weights is one part, and is the same memory."""
    module = PackedNetwork(64, 2)
    layout = _laid_out(module, adopt_from_bytes=1 << 14)
    [part] = layout.adopted
    memory = module.inner.weight.untyped_storage()

    assert memory.data_ptr() <= part.host.data_ptr() < memory.data_ptr() + memory.nbytes()
    assert all(each.host.nbytes < 1 << 14 for each in layout.packed)


def test_memory_that_is_mostly_somebody_elses_is_not_copied_whole() -> None:
    """Two small views far apart in a large memory take what they hold."""
    memory = torch.arange(1 << 16, dtype=torch.float32)
    module = torch.nn.Module()
    module.register_buffer("early", memory[1024:1028])
    module.register_buffer("late", memory[60_000:60_003])
    layout = _laid_out(module, adopt_from_bytes=ALL_ADOPTED)

    assert ([], 512 + 3 * 4) == (list(layout.adopted), layout.byte_count)


@pytest.mark.parametrize("make", [lambda: TinyNetwork(8, 1), lambda: PackedNetwork(8, 1)], ids=["own", "packed"])
def test_recurrent_weights_lie_as_they_are_wanted_in_a_storage_of_their_own(make: Callable[[], TinyNetwork]) -> None:
    """CuDNN finds them from the storage's first byte on, wherever the loader had put them."""
    module = make()
    weights = tuple(module.recurrent.parameters())
    layout = arena_layout(module, flattening=_together, adopt_from_bytes=ALL_ADOPTED)
    places = {id(tensor): place for tensor, place in zip(layout.tensors, layout.places, strict=True)}
    found = [places[id(each)] for each in weights]
    wanted = _together(module.recurrent)

    assert all(map(torch.equal, layout.tensors, _values(layout)))
    assert wanted.offsets == tuple(each.offset_bytes for each in found)
    assert {wanted.byte_count} == {each.storage_bytes for each in found}
    assert 1 == len({each.storage_begin for each in found})


def test_recurrent_weights_that_are_tied_stay_where_they_are() -> None:
    """What shares its bytes with another cannot be moved away from it."""
    module = torch.nn.Module()
    module.recurrent = torch.nn.LSTM(4, 4)
    module.recurrent.weight_hh_l0 = module.recurrent.weight_ih_l0
    module.mirror = torch.nn.Parameter(module.recurrent.weight_ih_l0.data.t(), requires_grad=False)
    layout = arena_layout(module, flattening=_together, adopt_from_bytes=ALL_PACKED)

    assert all(map(torch.equal, layout.tensors, _values(layout)))
    assert len({place.storage_begin for place in layout.places}) == len(layout.places) - 1


@pytest.mark.parametrize(
    "network",
    [
        torch.nn.LSTM(4, 8, num_layers=2, bidirectional=True, proj_size=3),
        torch.nn.GRU(4, 8, bias=False, batch_first=True),
        torch.nn.RNN(4, 8, nonlinearity="relu"),
    ],
    ids=lambda network: network.mode,
)
def test_recurrent_weights_lie_anyhow_where_torch_does_not_lay_them_together(network: torch.nn.RNNBase) -> None:
    """Asking takes no random numbers, and is done for every kind of network."""
    torch.manual_seed(1)
    expected = torch.get_rng_state()
    flattened = cudnn_flattening(torch.device("cpu"))(network)

    assert flattened is None
    assert torch.equal(expected, torch.get_rng_state())


def test_module_that_is_loaded_again_is_laid_out_the_same() -> None:
    """Addresses are for life, also over a stay on disk."""
    assert _laid_out(PackedNetwork(12, 2)).places == _laid_out(PackedNetwork(12, 2)).places


def test_module_without_tensors_takes_nothing() -> None:
    """An empty module has an empty layout."""
    layout = _laid_out(torch.nn.Identity())

    assert ((), 0) == (layout.places, layout.byte_count)
