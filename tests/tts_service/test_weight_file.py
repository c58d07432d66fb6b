"""What a file of weights holds is read from its head, and a file that is none is called what it is."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.fakes.damaged_archives import damaged_archives
from tts_service.models.chatterbox.host_master import allocate_master, fill_master
from tts_service.models.chatterbox.weight_file import (
    DTYPES,
    UnreadableFileError,
    file_problem,
    safetensors_metadata,
    stored_tensors,
)

TENSORS = {
    "matrix": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "number": torch.tensor(7, dtype=torch.int64),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "nothing": torch.zeros(0, 5),
}


def _written(folder: Path, suffix: str) -> Path:
    path = folder / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(TENSORS, path)
    else:
        save_file(TENSORS, path, metadata={"made_by": "a test"})
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_stored_tensors_are_where_the_file_says(tmp_path: Path, suffix: str) -> None:
    """Type, shape and place of every tensor lead to its values, in both forms of file."""
    path = _written(tmp_path, suffix)
    stored = stored_tensors(path)
    master = allocate_master(stored)
    with path.open("rb", buffering=0) as file:
        unfit = fill_master(file, stored, master, lambda _: None)

    assert {name: (each.dtype, each.shape) for name, each in TENSORS.items()} == {
        name: (each.dtype, each.shape) for name, each in stored.items()
    }
    assert all(torch.equal(TENSORS[name], master.tensors[name]) for name in TENSORS)
    assert {} == unfit


def test_views_of_one_archived_tensor_are_each_read_at_their_place(tmp_path: Path) -> None:
    """Tensors that share memory in an archive come out as their own values."""
    whole = torch.arange(10, dtype=torch.float32)
    path = tmp_path / "shared.pt"
    torch.save({"whole": whole, "tail": whole[6:]}, path)
    stored = stored_tensors(path)
    master = allocate_master(stored)
    with path.open("rb", buffering=0) as file:
        fill_master(file, stored, master, lambda _: None)

    assert torch.equal(whole, master.tensors["whole"])
    assert torch.equal(whole[6:], master.tensors["tail"])


def test_metadata_is_what_the_file_says_about_itself(tmp_path: Path) -> None:
    """A safetensors file can say who made it."""
    assert {"made_by": "a test"} == safetensors_metadata(_written(tmp_path, ".safetensors"))


@pytest.mark.parametrize("name", DTYPES)
def test_every_type_of_the_format_is_known(tmp_path: Path, name: str) -> None:
    """The table of types agrees with the format's own library."""
    path = tmp_path / "one.safetensors"
    save_file({"one": torch.ones(3).to(DTYPES[name])}, path)

    assert DTYPES[name] == stored_tensors(path)["one"].dtype


def _header(entries: object, data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not a safetensors file"),
        (b"PK\x03\x04 this is a zip archive", "is not a safetensors file"),
        (struct.pack("<Q", 1000) + b'{"a', "is truncated within its header"),
        (struct.pack("<Q", 4) + b"{{{{", "is not a safetensors file (its header is not JSON)"),
        (struct.pack("<Q", 1_000_000) + b"[" * 1_000_000, "is not a safetensors file (its header is not JSON)"),
        (_header([1, 2]), "is not a safetensors file"),
        (_header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, b"1234"), "is truncated: "),
        (_header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]}}, b"1" * 16), "a has 12 bytes for (4,)"),
        (_header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}, b"1" * 16), "is not a safetensors"),
        (_header({"a": {"dtype": "F31", "shape": [4], "data_offsets": [0, 16]}}, b"1" * 16), "a is not described"),
        (_header({"a": 1}), "a is not described"),
    ],
)
def test_file_that_is_no_safetensors_file_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    """Something else, a torn header, torn data and a header that contradicts itself are each called what they are."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError) as caught:
        stored_tensors(path)

    assert said in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_archive_that_is_torn_is_refused(tmp_path: Path, kept: float) -> None:
    """A download that ended early is noticed before anything is read from it."""
    path = _written(tmp_path, ".pt")
    os.truncate(path, int(kept * path.stat().st_size))
    with pytest.raises(UnreadableFileError) as caught:
        stored_tensors(path)

    assert "is truncated, or not a PyTorch archive" == str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"weight": 3}, {"weight": torch.ones(3, 4).T}, {"weight": Path()}])
def test_archive_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    """A list, numbers, tensors in strides, or objects cannot be read tensor by tensor."""
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(UnreadableFileError):
        stored_tensors(path)


def test_archive_whose_directory_is_damaged_is_refused(tmp_path: Path) -> None:
    """The end of an archive alone does not make one."""
    path = _written(tmp_path, ".pt")
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError) as caught:
        stored_tensors(path)

    assert str(caught.value).startswith("is damaged, or not an archive of tensors")


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (FileNotFoundError(2, "No such file"), "is missing"),
        (PermissionError(13, "Permission denied"), "cannot be read (Permission denied)"),
        (OSError(5, "Input/output error"), "cannot be read (Input/output error)"),
        (UnreadableFileError("is no file"), "is no file"),
    ],
)
def test_error_of_the_disk_is_said_in_words(error: Exception, what: str) -> None:
    """Whatever reading a file raises becomes a problem of that file."""
    problem = file_problem(Path("folder", "ve.pt"), error)

    assert ("ve.pt", "", what) == (problem.file, problem.key, problem.what)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_archive_with_a_damaged_description_is_read_or_refused(tmp_path: Path) -> None:
    """Whatever the unpickler stumbles over becomes a word about the file, never an error of its own."""
    path = _written(tmp_path, ".pt")
    refused = 0
    for data in damaged_archives(path.read_bytes(), count=300):
        path.write_bytes(data)
        try:
            stored_tensors(path)
        except UnreadableFileError:
            refused += 1

    assert refused > 150
