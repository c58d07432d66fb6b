"""Reading weights into the form in which they run: cast, turned, checked, and by several threads at once."""

import io
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.fakes.tiny_weights import changed, own_copy, tiny_folder
from tts_service.models.chatterbox import host_master
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.host_master import Unfit, allocate_master, fill_master
from tts_service.models.chatterbox.loading import open_weights
from tts_service.models.chatterbox.running_form import AS_TRAINED, MemoryOrder, RunningForm, adjacent
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.weight_file import stored_tensors
from tts_service.models.chatterbox.weight_problems import BadWeightsError
from tts_service.types import Precision

TENSORS = {
    "wide": torch.linspace(-3, 3, 40 * 30).reshape(40, 30),
    "turned": torch.linspace(-1, 1, 6 * 5 * 4).reshape(6, 5, 4),
    "number": torch.tensor(7),
    "scale": torch.tensor(0.1),
    "nothing": torch.zeros(0, 5),
    "counts": torch.arange(9, dtype=torch.int32),
}
PIECES = pytest.mark.parametrize("read_bytes", [1, 256, 1 << 20], ids=["by row", "by a few rows", "whole"])


def _turned(name: str, shape: tuple[int, ...]) -> MemoryOrder | None:
    del shape
    return (1, 2, 0) if name == "turned" else None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with all kinds of tensors."""
    save_file(TENSORS, tmp_path / "all.safetensors")
    return tmp_path / "all.safetensors"


@pytest.fixture
def english(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """Return an English folder of one's own."""
    return own_copy(tiny_folder(tmp_path_factory.getbasetemp(), ChatterboxModel.ENGLISH), tmp_path / "english")


@PIECES
@pytest.mark.parametrize("readers", [1, 4])
@pytest.mark.parametrize("precision", list(Precision))
def test_master_holds_the_file_s_values_in_its_form(
    path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision, read_bytes: int, readers: int
) -> None:
    """Whatever the pieces and however many read: values are those of one cast, and every byte is told once."""
    monkeypatch.setattr(host_master, "READ_BYTES", read_bytes)
    monkeypatch.setattr(host_master, "reader_count", lambda: readers)
    form = RunningForm(precision=precision, stays_fp32=lambda name: name == "scale", memory_order=_turned)
    stored = stored_tensors(path)
    told: list[int] = []
    master = allocate_master(stored, form)
    with path.open("rb", buffering=0) as file:
        unfit = fill_master(file, stored, master, told.append)

    assert {} == unfit
    assert sum(each.byte_count for each in stored.values()) == sum(told)
    assert all(torch.equal(TENSORS[name].to(each.dtype), each) for name, each in master.tensors.items())
    assert torch.float32 == master.tensors["scale"].dtype
    assert master.tensors["turned"].permute(1, 2, 0).is_contiguous()


@pytest.mark.parametrize(
    ("values", "precision", "expected"),
    [
        ([1.0, 65_520.0], Precision.FP16, Unfit.TOO_LARGE),
        ([1.0, -70_000.0], Precision.FP16, Unfit.TOO_LARGE),
        ([1.0, 65_504.0], Precision.FP16, None),
        ([1.0, 70_000.0], Precision.BF16, None),
        ([1.0, torch.finfo(torch.float32).max], Precision.BF16, Unfit.TOO_LARGE),
        ([1.0, torch.inf], Precision.FP16, Unfit.NOT_FINITE),
        ([torch.nan, 1.0], Precision.BF16, Unfit.NOT_FINITE),
        ([torch.nan, 1.0], Precision.FP32, Unfit.NOT_FINITE),
    ],
)
def test_values_that_a_type_cannot_hold_are_found(
    tmp_path: Path, values: list[float], precision: Precision, expected: Unfit | None
) -> None:
    """What would become infinite is told apart from what was it already."""
    path = tmp_path / "one.safetensors"
    save_file({"fine": torch.ones(3), "one": torch.tensor(values)}, path)
    stored = stored_tensors(path)
    master = allocate_master(stored, RunningForm(precision=precision))
    with path.open("rb", buffering=0) as file:
        unfit = fill_master(file, stored, master, lambda _: None)

    assert ({} if expected is None else {"one": expected}) == unfit


def test_reading_ends_when_progress_raises(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is to end is not held up by what was still to be read."""
    monkeypatch.setattr(host_master, "READ_BYTES", 1)
    stored = stored_tensors(path)
    told: list[int] = []

    class EndedError(Exception):
        pass

    def progress(byte_count: int) -> None:
        told.append(byte_count)
        raise EndedError

    with path.open("rb", buffering=0) as file, pytest.raises(EndedError):
        fill_master(file, stored, allocate_master(stored), progress)

    assert 1 == len(told)


def test_file_that_is_too_short_is_told(path: Path) -> None:
    """Nothing waits for bytes that will not come."""
    stored = stored_tensors(path)
    short = path.with_name("short")
    short.write_bytes(path.read_bytes()[:-40])
    with io.FileIO(short) as file, pytest.raises(host_master.EndOfFileError):
        fill_master(file, stored, allocate_master(stored), lambda _: None)


def test_module_comes_in_the_form_that_it_is_to_run_in(english: Path) -> None:
    """T3 in bf16 takes half the memory, holds the file's values cast, and its frequencies stay fp32."""
    plain = open_weights(english, ChatterboxModel.ENGLISH)
    weights = open_weights(english, ChatterboxModel.ENGLISH, forms={T3: RunningForm(precision=Precision.BF16)})
    expected, module = plain.load(T3).state_dict(), weights.load(T3)

    assert all(torch.equal(expected[name].bfloat16(), each) for name, each in module.state_dict().items())
    assert {torch.float32} == {each.dtype for each in module.buffers()}
    assert weights.byte_count(T3) == plain.byte_count(T3)
    assert weights.master_bytes(T3) < 0.55 * plain.master_bytes(T3)
    assert plain.master_bytes(S3GEN_FLOW) == weights.master_bytes(S3GEN_FLOW)


def test_computed_tables_come_in_the_form_too(english: Path) -> None:
    """The flow's positions are added to what is computed in its type."""
    forms = {S3GEN_FLOW: RunningForm(precision=Precision.FP16)}
    module = open_weights(english, ChatterboxModel.ENGLISH, forms=forms).load(S3GEN_FLOW)
    dtypes = {each.dtype for each in (*module.parameters(), *module.buffers())}

    assert {torch.float16} == dtypes


def test_queries_keys_and_values_of_a_loaded_backbone_are_neighbours(english: Path) -> None:
    """What is multiplied by the same input can be multiplied at once."""
    forms = {T3: RunningForm(precision=Precision.BF16)}
    module = open_weights(english, ChatterboxModel.ENGLISH, forms=forms).load(T3)
    attention = module.get_submodule("tfmr.layers.1.self_attn")
    weights = tuple(attention.get_parameter(f"{name}_proj.weight") for name in "qkv")
    joined = adjacent(weights)

    assert joined is not None
    assert torch.equal(torch.cat(weights), joined)


def test_overflowing_value_is_told_with_file_and_name(english: Path) -> None:
    """An operator learns what to change."""
    changed(
        english / "s3gen.safetensors",
        lambda tensors: tensors.update({"flow.encoder_proj.bias": torch.full((80,), 1e6)}),
    )
    forms = {S3GEN_FLOW: RunningForm(precision=Precision.FP16)}
    with pytest.raises(BadWeightsError) as caught:
        open_weights(english, ChatterboxModel.ENGLISH, forms=forms).load(S3GEN_FLOW)

    assert "s3gen.safetensors: flow.encoder_proj.bias: holds values too large" in str(caught.value)


def test_master_of_nothing_is_empty() -> None:
    """A module without weights is none of the loader's problems."""
    assert 0 == allocate_master({}, AS_TRAINED).bytes_.nbytes
