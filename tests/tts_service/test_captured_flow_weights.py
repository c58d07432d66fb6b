"""How the flow's weights lie in memory in their running form, at full size and without their values."""

from itertools import pairwise

import torch

from tests.fakes.tiny_s3gen import planted_s3gen
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.running_form import packed, placed
from tts_service.models.chatterbox.s3gen_network import build_flow
from tts_service.speech.captured.flow_weights import (
    Convolution,
    encoder_weights,
    estimator_weights,
    flow_arranged,
    flow_form,
    flow_memory_order,
)
from tts_service.types import Precision


def test_flow_form_puts_what_is_multiplied_at_once_side_by_side() -> None:
    """In 16 bits and full size, queries, keys and values of every attention follow each other without a gap."""
    flow = build_flow(NetworkSize.FULL, meanflow=False)
    form = flow_form(Precision.FP16)
    sizes = {
        name: each.numel() * form.of_tensor(name, each.dtype, tuple(each.shape)).dtype.itemsize
        for name, each in flow.named_parameters()
    }
    begins, _ = placed(sizes, form)
    triples = [
        [f"{name.removesuffix(first)}{part}" for part in parts]
        for parts in (
            ("linear_q.weight", "linear_k.weight", "linear_v.weight"),
            ("linear_q.bias", "linear_k.bias", "linear_v.bias"),
            ("to_q.weight", "to_k.weight", "to_v.weight"),
        )
        for first in parts[:1]
        for name in sizes
        if name.endswith(first)
    ]

    assert 10 + 10 + 56 == len(triples)
    assert all(begins[a] + sizes[a] == begins[b] for each in triples for a, b in pairwise(each))


def test_flow_arranged_keeps_every_name_once() -> None:
    """The arrangement moves names and loses none."""
    names = [name for name, _ in build_flow(NetworkSize.FULL, meanflow=True).named_parameters()]

    assert sorted(names) == sorted(flow_arranged(names))


def test_flow_memory_order_makes_convolutions_products_without_a_copy() -> None:
    """Packed, a convolution's weight is seen as (out, taps * in) where it lies; unpacked, it is copied."""
    plain, net = planted_s3gen().flow, packed(planted_s3gen().flow, flow_form(Precision.FP32))

    def is_view(convolution: Convolution) -> bool:
        return convolution.product().weight.data_ptr() == convolution.weight.data_ptr()

    def convolutions(flow: torch.nn.Module) -> list[Convolution]:
        encoder, estimator = encoder_weights(flow), estimator_weights(flow.decoder.estimator)
        return [encoder.ahead, encoder.behind, encoder.double, estimator.down.first, estimator.up.second]

    assert [True] * 5 == [is_view(each) for each in convolutions(net)]
    assert [False] * 5 == [is_view(each) for each in convolutions(plain)]
    assert all(
        torch.equal(a.product().weight, b.product().weight)
        for a, b in zip(convolutions(net), convolutions(plain), strict=True)
    )


def test_flow_memory_order_leaves_the_rest_plain() -> None:
    """Matrices, vectors, tables of positions and convolutions of one tap lie as they always do."""
    shapes = [(512, 512), (512,), (1, 2559, 512), (256, 320, 1)]

    assert [None] * 4 == [flow_memory_order("any", each) for each in shapes]
    assert flow_memory_order("any", (256, 320, 3)) == (0, 2, 1)
