"""Modules on a device and back: the same values, the same ties, the same objects, and nothing left behind."""

from collections.abc import Callable

import pytest
import torch
from structlog.testing import capture_logs

from tests.fakes.fake_device import FakeDevice
from tests.fakes.torch_networks import MAKERS, NetworkHolder, TinyNetwork, is_tied, networks_of, output_of, weights_of
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.module_tensors import ALIGNMENT_BYTES, module_tensors
from tts_service.types import ModuleName

A = ModuleName("a")
CPU = torch.device("cpu")
EVERY_KIND = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def _addresses(module: object) -> list[int]:
    return [each.data_ptr() for network in networks_of(module) for each in (*network.parameters(), *network.buffers())]


def _tensor_ids(module: object) -> list[int]:
    return [id(each) for network in networks_of(module) for each in (*network.parameters(), *network.buffers())]


def _filled(addresses: list[int]) -> set[int]:
    return set(addresses) - {0}


@EVERY_KIND
def test_module_on_the_device_is_the_same_in_other_memory(make: Callable[[], object]) -> None:
    """Parameters and buffers are the same objects with the same bits and ties, and their memory is the device's."""
    module, device = make(), FakeDevice()
    weights, output, ids, host = weights_of(module), output_of(module, CPU), _tensor_ids(module), _addresses(module)
    byte_count = DeviceTensors(device).restore(A, module)

    assert all(map(torch.equal, weights, weights_of(module)))
    assert torch.equal(output, output_of(module, CPU))
    assert (ids, True, byte_count) == (_tensor_ids(module), is_tied(module), device.usage().allocated_bytes)
    assert _filled(host).isdisjoint(_filled(_addresses(module)))


@EVERY_KIND
def test_module_that_was_evicted_is_in_its_host_memory_again(make: Callable[[], object]) -> None:
    """Nothing is copied back: the same host memory is used, and the device has everything back."""
    module, device = make(), FakeDevice()
    host, output = _addresses(module), output_of(module, CPU)
    tensors = DeviceTensors(device)
    byte_count = tensors.restore(A, module)
    released_bytes = tensors.evict(A)
    usage = device.usage()

    assert (host, byte_count, 0, 0) == (
        _addresses(module),
        released_bytes,
        usage.allocated_bytes,
        usage.reserved_bytes,
    )
    assert torch.equal(output, output_of(module, CPU))


@EVERY_KIND
def test_module_takes_what_it_was_weighed_at(make: Callable[[], object]) -> None:
    """Room is planned with what will be taken."""
    module, tensors = make(), DeviceTensors(FakeDevice())

    assert tensors.weigh(module) == tensors.restore(A, module)


def test_tied_weights_are_counted_and_copied_once() -> None:
    """A weight under three names takes its bytes once."""
    module = torch.nn.Module()
    module.first = torch.nn.Linear(16, 32, bias=False)
    module.second = torch.nn.Linear(16, 32, bias=False)
    module.second.weight = module.first.weight
    module.third = torch.nn.Parameter(module.first.weight.data[8:24])

    assert 16 * 32 * 4 == DeviceTensors(FakeDevice()).restore(A, module)


def test_part_of_a_larger_memory_is_copied_without_the_rest() -> None:
    """A module whose tensors are views of another's memory takes only what lies between them."""
    memory = torch.arange(1 << 16, dtype=torch.float32)
    module = torch.nn.Module()
    module.register_buffer("early", memory[1024:1028])
    module.register_buffer("late", memory[1100:1200:3])
    byte_count = DeviceTensors(FakeDevice()).restore(A, module)

    assert byte_count <= (1200 - 1024) * 4 + ALIGNMENT_BYTES
    assert torch.equal(memory[1100:1200:3], module.late)
    assert torch.equal(memory[1024:1028], module.early)


def test_expanded_tensor_takes_what_it_holds() -> None:
    """A tensor that repeats its values by strides is not written out."""
    module = torch.nn.Module()
    module.register_buffer("ones", torch.ones(1).expand(1000, 1000))

    assert (4, (0, 0)) == (DeviceTensors(FakeDevice()).restore(A, module), module.ones.stride())


def test_object_that_is_no_torch_module_cannot_go_to_a_device() -> None:
    """What a device cannot hold is refused in words."""
    with pytest.raises(TypeError, match="object is no torch module"):
        DeviceTensors(FakeDevice()).weigh(object())


def test_module_without_weights_in_host_memory_cannot_go_to_a_device() -> None:
    """A tensor that was never filled is found before anything moves."""
    with torch.device("meta"):
        module = torch.nn.Linear(2, 2)

    with pytest.raises(ValueError, match="on meta"):
        DeviceTensors(FakeDevice()).restore(A, module)


@pytest.mark.parametrize("capacity_bytes", [0, 1500, 2900])
def test_restore_without_memory_leaves_the_module_on_the_host_and_nothing_on_the_device(capacity_bytes: int) -> None:
    """Whatever was allocated before memory ran out is given back at once."""
    module, device = TinyNetwork(8, 1), FakeDevice(capacity_bytes)
    host, tensors = _addresses(module), DeviceTensors(device)
    with pytest.raises(torch.OutOfMemoryError) as failed:
        tensors.restore(A, module)
    usage = device.usage()

    assert (host, 0, 0) == (_addresses(module), usage.allocated_bytes, usage.reserved_bytes), failed.value


def test_restore_after_a_restore_without_memory_succeeds() -> None:
    """A failure leaves nothing that the next attempt would trip over."""
    module, device = NetworkHolder(8, 1), FakeDevice(0)
    tensors = DeviceTensors(device)
    with pytest.raises(torch.OutOfMemoryError):
        tensors.restore(A, module)
    device.capacity_bytes = None

    assert tensors.weigh(module) == tensors.restore(A, module)


def test_host_memory_is_locked_from_the_first_restore_until_it_is_forgotten() -> None:
    """Locking costs time, so that it is done once; memory that is about to be dropped is unlocked before."""
    module, device = TinyNetwork(8, 1), FakeDevice()
    tensors = DeviceTensors(device)
    for _ in range(2):
        tensors.restore(A, module)
        tensors.evict(A)
    locked = list(device.pinned)
    tensors.forget(A)

    assert ({piece.data_ptr() for piece in module_tensors(module).pieces} - {0}, []) == (set(locked), device.pinned)


def test_eviction_says_what_it_could_not_give_back() -> None:
    """Whoever keeps a tensor beyond a lease is found in the log and in the bytes."""
    module, device = TinyNetwork(8, 1), FakeDevice()
    tensors = DeviceTensors(device, collect=lambda: 0)
    byte_count = tensors.restore(A, module)
    kept = module.inner.weight.data
    with capture_logs() as logs:
        released_bytes = tensors.evict(A)

    assert (byte_count - kept.nbytes, kept.nbytes) == (released_bytes, device.usage().allocated_bytes)
    assert [("device_memory_still_referenced", "a")] == [(each["event"], each["module"]) for each in logs]


def test_eviction_finds_what_only_a_cycle_keeps() -> None:
    """A collection is made when something is missing, and only then."""
    module, device = TinyNetwork(8, 1), FakeDevice()
    kept: list[torch.Tensor] = []

    def collect() -> int:
        kept.clear()
        return 1

    tensors = DeviceTensors(device, collect=collect)
    byte_count = tensors.restore(A, module)
    kept.append(module.scale.data)
    with capture_logs() as logs:
        released_bytes = tensors.evict(A)

    assert (byte_count, []) == (released_bytes, logs)


def test_eviction_from_a_device_that_has_failed_succeeds() -> None:
    """A module gets its host memory back even if the device answers nothing any more."""
    module, device = TinyNetwork(8, 1), FakeDevice()
    tensors = DeviceTensors(device)
    host = _addresses(module)
    tensors.restore(A, module)

    def failing() -> None:
        raise RuntimeError("device-side assert triggered")

    device.give_back = failing
    with capture_logs() as logs:
        tensors.evict(A)

    assert (host, ["device_memory_not_given_back"]) == (_addresses(module), [each["event"] for each in logs])
