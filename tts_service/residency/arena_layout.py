"""Where each of a module's tensors is in its arena, and what of its host memory can be copied as it is.

Tensors that share bytes share them in the arena too; those that share nothing get places of their own, aligned as
torch's allocator has it. Tensors of one piece of host memory share a storage and keep their order, so that neighbours
among them can be taken as one matrix. A large piece that holds hardly anything else (a loader's) keeps its form, so
that it need not be copied within the host. Weights of recurrent networks go where `recurrent_layout` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from tts_service.residency.module_tensors import ALIGNMENT_BYTES, ModuleTensors, View, module_tensors
from tts_service.residency.recurrent_layout import Flattening, FlatWeights, flat_weights

ADOPT_FROM_BYTES: Final = 32 << 20
"""From this size on glibc gives pages of their own (M_MMAP_THRESHOLD's upper bound), which alone are to be locked."""

MOST_HOLES: Final = 0.1
"""Part of a piece of host memory that may be padding, or somebody else's, if it is to be copied whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a tensor is beside its values, and where: its storage's bytes in the arena, and its offset in that."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage_begin: int
    storage_bytes: int
    offset_bytes: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Part:
    """Host memory (one dimension of uint8) and its place in the arena."""

    host: torch.Tensor
    begin: int

    def __repr__(self) -> str:
        return f"<Part of {self.host.nbytes} bytes at {self.begin}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ArenaLayout:
    """The places of a module's tensors, in order, with the tensors, and the parts that fill them.

    `adopted` parts are copied to the device as they are. `packed` ones lie between `packed_begin` and `byte_count`, and
    are brought together in host memory first.
    """

    tensors: Sequence[torch.Tensor]
    places: tuple[Place, ...]
    adopted: Sequence[Part]
    packed: Sequence[Part]
    packed_begin: int
    byte_count: int

    def __repr__(self) -> str:
        return f"<ArenaLayout {len(self.places)} tensors | {len(self.adopted)} adopted | {self.byte_count} bytes>"


@dataclass(slots=True, eq=False)
class _Cluster:
    """Tensors of a piece that share bytes, and the range that they use there."""

    views: list[View]
    begin: int
    end: int


_Flat = list[tuple[Sequence[torch.Tensor], FlatWeights]]


def arena_layout(module: object, *, flattening: Flattening, adopt_from_bytes: int = ADOPT_FROM_BYTES) -> ArenaLayout:
    """Lay out a module in host memory. Raises TypeError or ValueError for one that cannot be on a device."""
    tensors = module_tensors(module)
    clusters = [_clusters(tensors.views, piece) for piece in range(len(tensors.pieces))]
    flat = _free_to_move(flat_weights(module, flattening), clusters)
    moved = frozenset(id(weight) for weights, _ in flat for weight in weights)
    layout = _Layout()
    packed = []
    for piece, found in zip(tensors.pieces, clusters, strict=True):
        stays = [each for each in found if id(each.views[0].tensor) not in moved]
        if piece.nbytes >= adopt_from_bytes and _used_bytes(stays) >= (1 - MOST_HOLES) * piece.nbytes:
            layout.adopt(piece, stays)
        else:
            packed.append((piece, stays))
    layout.begin_packing()
    for piece, found in packed:
        layout.pack(piece, found)
    for weights, flattened in flat:
        layout.pack_flat(_views_of(tensors, weights), tensors.pieces, flattened)
    return layout.finished(tensors)


class _Layout:
    """A layout that is being made."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self._adopted: list[Part] = []
        self._packed: list[Part] = []
        self._packed_begin = 0
        self._end = 0

    def __repr__(self) -> str:
        return f"<_Layout {len(self._places)} places | {self._end} bytes>"

    def adopt(self, host: torch.Tensor, clusters: Sequence[_Cluster]) -> None:
        begin = self._room(host.nbytes)
        self._adopted.append(Part(host, begin))
        for cluster in clusters:
            self._place_cluster(cluster, begin + cluster.begin, (begin, host.nbytes))

    def begin_packing(self) -> None:
        self._packed_begin = _aligned(self._end)

    def pack(self, host: torch.Tensor, clusters: Sequence[_Cluster]) -> None:
        begins = [self._room(each.end - each.begin) for each in clusters]
        for cluster, begin in zip(clusters, begins, strict=True):
            self._packed.append(Part(host[cluster.begin : cluster.end], begin))
            self._place_cluster(cluster, begin, (begins[0], self._end - begins[0]))

    def pack_flat(self, views: Sequence[View], pieces: Sequence[torch.Tensor], weights: FlatWeights) -> None:
        begin = self._room(weights.byte_count)
        for view, offset in zip(views, weights.offsets, strict=True):
            host = pieces[view.piece][view.offset_bytes : view.offset_bytes + view.host.nbytes]
            self._packed.append(Part(host, begin + offset))
            self._place(view, begin, weights.byte_count, offset)

    def finished(self, tensors: ModuleTensors) -> ArenaLayout:
        ordered = [view.tensor for view in tensors.views]
        places = tuple(self._places[id(each)] for each in ordered)
        end = max(self._end, self._packed_begin)
        return ArenaLayout(ordered, places, self._adopted, self._packed, self._packed_begin, end)

    def _room(self, byte_count: int) -> int:
        begin = _aligned(self._end)
        self._end = begin + byte_count
        return begin

    def _place_cluster(self, cluster: _Cluster, begin: int, storage: tuple[int, int]) -> None:
        storage_begin, storage_bytes = storage
        for view in cluster.views:
            offset_bytes = begin - storage_begin + view.offset_bytes - cluster.begin
            self._place(view, storage_begin, storage_bytes, offset_bytes)

    def _place(self, view: View, storage_begin: int, storage_bytes: int, offset_bytes: int) -> None:
        self._places[id(view.tensor)] = Place(
            dtype=view.host.dtype,
            shape=tuple(view.host.shape),
            stride=view.host.stride(),
            storage_begin=storage_begin,
            storage_bytes=storage_bytes,
            offset_bytes=offset_bytes,
        )


def _clusters(views: Sequence[View], piece: int) -> list[_Cluster]:
    """Return the views of a piece, those together that share bytes, in the order of their bytes."""
    clusters: list[_Cluster] = []
    for view in sorted((each for each in views if each.piece == piece), key=lambda each: each.offset_bytes):
        end = view.offset_bytes + _extent_bytes(view.host)
        if clusters and view.offset_bytes < clusters[-1].end:
            clusters[-1].views.append(view)
            clusters[-1].end = max(clusters[-1].end, end)
        else:
            clusters.append(_Cluster([view], view.offset_bytes, end))
    return clusters


def _free_to_move(flat: _Flat, clusters: Sequence[Sequence[_Cluster]]) -> _Flat:
    """Return those whose weights share their bytes with nothing and have no holes: the others stay as they are."""
    alone = {id(each.views[0].tensor) for found in clusters for each in found if len(each.views) == 1}
    return [
        (weights, flattened)
        for weights, flattened in flat
        if all(id(each) in alone and each.is_contiguous() for each in weights)
    ]


def _views_of(tensors: ModuleTensors, weights: Sequence[torch.Tensor]) -> list[View]:
    by_id = {id(view.tensor): view for view in tensors.views}
    return [by_id[id(each)] for each in weights]


def _used_bytes(clusters: Sequence[_Cluster]) -> int:
    return sum(each.end - each.begin for each in clusters)


def _extent_bytes(tensor: torch.Tensor) -> int:
    if tensor.numel() == 0:
        return 0
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (steps + 1) * tensor.element_size()


def _aligned(byte_count: int) -> int:
    return -(-byte_count // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
