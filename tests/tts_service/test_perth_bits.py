"""Same input, same bits: what else torch does, and with how many threads, does not show."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.fakes.real_watermarker import detector, encoder, upstream
from tests.fakes.spoken import spoken
from tts_service.models.perth import PerthEncoder, encoder_state

TEXT = "Nine little lights shone on the far side of the bay."


def watched_encoder(look: Callable[[], None]) -> PerthEncoder:
    """Return an encoder that calls `look` while it computes."""
    module = PerthEncoder.from_state_dict(encoder_state(upstream()))
    layers: Any = module.network.layers
    layers[0].act.register_forward_hook(lambda *_: look())
    return module


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Torch computes with three threads, wherever the test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_mark_computes_in_one_thread() -> None:
    """While it computes, torch uses one thread; before and after, as many as it was told to."""
    seen: list[int] = []

    watched_encoder(lambda: seen.append(torch.get_num_threads())).mark(spoken(TEXT))

    assert {1} == set(seen)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_mark_in_a_new_thread_meanwhile_leaves_the_thread_count() -> None:
    """A thread that first meets torch while another marks goes back to torch's own count, not to the other's one."""
    seen: list[int] = []

    def mark_too() -> None:
        encoder().mark(spoken(TEXT)[:5_000])
        seen.append(torch.get_num_threads())

    def meanwhile() -> None:
        newcomer = threading.Thread(target=mark_too)
        newcomer.start()
        newcomer.join()

    watched_encoder(meanwhile).mark(spoken(TEXT)[:5_000])

    assert {3} == set(seen)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_mark_any_thread_count_has_the_same_bits(threads: int) -> None:
    """Torch's thread count changes no bit."""
    clips = [spoken(TEXT)[:count] for count in (5_280, 9_120, 24_000)]
    expected = [encoder().mark(clip).tobytes() for clip in clips]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        marked = [encoder().mark(clip).tobytes() for clip in clips]
    finally:
        torch.set_num_threads(before)

    assert expected == marked


def test_mark_in_many_threads_has_the_same_bits() -> None:
    """Marking at the same time as others changes no bit."""
    clips = [spoken(TEXT)[:count] for count in (5_280, 9_120, 24_000)]
    expected = [encoder().mark(clip).tobytes() for clip in clips]
    seen: list[list[bytes]] = []
    workers = [
        threading.Thread(target=lambda: seen.append([encoder().mark(clip).tobytes() for clip in clips]))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [expected] * 4 == seen


def test_mark_after_other_work_has_the_same_bits() -> None:
    """What ran before, and where the weights lie in memory, changes no bit."""
    clip = spoken(TEXT)[:12_960]
    expected = encoder().mark(clip).tobytes()
    encoder().mark(spoken(TEXT)[:1_234])
    detector().score(spoken(TEXT))
    elsewhere = {name: shifted(weight) for name, weight in encoder_state(upstream()).items()}

    assert expected == encoder().mark(clip).tobytes()
    assert expected == PerthEncoder.from_state_dict(elsewhere).mark(clip).tobytes()


def shifted(weight: torch.Tensor) -> torch.Tensor:
    """Return a copy that begins one value after a boundary of the allocator."""
    room = torch.empty(weight.numel() + 1)
    room[1:] = weight.flatten()
    return room[1:].view(weight.shape)
