"""Where voices are kept: stored once, found again, deleted, and safe from bad ids, bad files and full disks."""

import errno
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from tests.fakes.voices import MODEL, named, random_voice, voice_store
from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.models import weights as weights_module
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_store import StoreLimits, VoiceStore


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    """Return an empty store whose folder is not there yet."""
    return voice_store(tmp_path / "voices")


def added(store: VoiceStore, seed: int = 0, name: str = "Ann") -> str:
    """Store a voice and return its id."""
    voice_id = store.voice_id(MODEL, bytes([seed]))
    store.add(named(voice_id, name), random_voice(seed))
    return voice_id


def same(one: VoiceConditionals, other: VoiceConditionals) -> bool:
    """Return whether two voices have the same numbers."""
    mine, theirs = one.tensors(), other.tensors()
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def path_of(store: VoiceStore, voice_id: str) -> Path:
    """Return where a voice's file is."""
    return store.folder / f"{voice_id}.safetensors"


def contents(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """Return a file's tensors and its document."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["greenroom_voice"])  # noqa: SIM118  # It is no mapping.


def expect_not_found(store: VoiceStore, voice_id: str) -> None:
    """Check that a voice is neither listed nor to be had."""
    assert voice_id not in store.voices
    with pytest.raises(CallerError) as caught:
        store.conditionals(voice_id, MODEL)
    assert Reason.VOICE_NOT_FOUND is caught.value.reason


def test_voice_comes_back_as_it_was_stored(store: VoiceStore) -> None:
    """Name, time, sum and every number survive, also for a process that starts later."""
    voice_id = added(store)
    later = voice_store(store.folder)
    facts = later.voices[voice_id]

    assert ("Ann", ("en",), (MODEL,), 1_700_000_000.0) == (
        facts.display_name,
        facts.languages,
        facts.models,
        facts.created_unix_seconds,
    )
    assert 64 == len(facts.content_sha256)
    assert same(random_voice(), later.conditionals(voice_id, MODEL))


def test_add_returns_the_voice_as_it_is_listed(store: VoiceStore) -> None:
    """What the client is told is what ListVoices says."""
    voice_id = store.voice_id(MODEL, b"a")
    facts, already_there = store.add(named(voice_id), random_voice())

    assert not already_there
    assert facts == store.voices[voice_id] == voice_store(store.folder).voices[voice_id]


def test_same_bytes_give_the_same_voice_and_keep_its_name(store: VoiceStore) -> None:
    """An upload may be repeated; the voice is what it was."""
    voice_id = added(store, name="Ann")
    facts, already_there = store.add(named(voice_id, "Bob"), random_voice(1))

    assert (True, "Ann") == (already_there, facts.display_name)
    assert same(random_voice(0), store.conditionals(voice_id, MODEL))


def test_id_depends_on_bytes_model_and_weights(tmp_path: Path) -> None:
    """Another recording, another model and other weights give another voice; nothing else does."""
    one = voice_store(tmp_path, weights={"english": "tiny", "turbo": "tiny"})
    other = voice_store(tmp_path, weights={"english": "full"})
    ids = [
        one.voice_id("english", b"a"),
        one.voice_id("english", b"b"),
        one.voice_id("turbo", b"a"),
        other.voice_id("english", b"a"),
    ]

    assert 4 == len(set(ids))
    assert ids[0] == voice_store(tmp_path / "elsewhere").voice_id("english", b"a")


def test_own_voice_is_listed_used_and_not_deleted(store: VoiceStore) -> None:
    """A voice that belongs to a model is like any other, but cannot be deleted."""
    assert ["default"] == list(store.voices)
    assert same(random_voice(99), store.conditionals("default", MODEL))
    with pytest.raises(CallerError, match="belongs to model english") as caught:
        store.delete("default")
    assert Reason.BAD_CONFIG is caught.value.reason


def test_deleted_voice_is_gone_but_for_those_who_have_it(store: VoiceStore) -> None:
    """An utterance that began keeps its voice; the next one hears that there is none."""
    voice_id = added(store)
    in_use = store.conditionals(voice_id, MODEL)
    store.delete(voice_id)

    assert same(random_voice(), in_use)
    assert [] == list(store.folder.iterdir())
    expect_not_found(store, voice_id)
    with pytest.raises(CallerError) as caught:
        store.delete(voice_id)
    assert Reason.VOICE_NOT_FOUND is caught.value.reason


def test_deleted_voice_can_be_made_again(store: VoiceStore) -> None:
    """A deletion leaves nothing that would stand in the way."""
    voice_id = added(store)
    store.delete(voice_id)
    _, already_there = store.add(named(voice_id, "Again"), random_voice(1))

    assert (False, "Again") == (already_there, store.voices[voice_id].display_name)
    assert same(random_voice(1), store.conditionals(voice_id, MODEL))


def test_other_process_is_seen_at_once(store: VoiceStore) -> None:
    """Two services share a folder: what one adds or deletes is so for the other."""
    other = voice_store(store.folder)
    voice_id = added(other)

    assert same(random_voice(), store.conditionals(voice_id, MODEL))
    other.delete(voice_id)
    expect_not_found(store, voice_id)


@pytest.mark.parametrize(
    "voice_id",
    ["", ".", "..", "../default", "v" * 33, "v" + "0" * 31, "v" + "0" * 33, "V" + "0" * 32, "v" + "0" * 31 + "/"],
)
def test_id_of_another_form_never_reaches_the_disk(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch, voice_id: str
) -> None:
    """Only what could be an id of ours is looked for."""

    def untouched(path: Path) -> os.stat_result:
        raise AssertionError(f"{path} was looked at")

    monkeypatch.setattr(Path, "lstat", untouched)
    expect_not_found(store, voice_id)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=80))
def test_any_text_as_an_id_is_not_found(text: str) -> None:
    """No text escapes the folder, breaks anything, or finds what is not there."""
    expect_not_found(voice_store(Path("/nonexistent/voices")), text)


def test_link_out_of_the_folder_is_not_followed(store: VoiceStore, tmp_path: Path) -> None:
    """A name that leads elsewhere is no voice."""
    voice_id = added(store)
    path_of(store, voice_id).rename(tmp_path / "elsewhere")
    path_of(store, voice_id).symlink_to(tmp_path / "elsewhere")

    expect_not_found(store, voice_id)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"{}", b"\x02\0\0\0\0\0\0\0{}", b"\xff" * 9_000, b"\0" * (5 << 20)],
    ids=["empty", "zeros", "text", "header only", "ones", "large"],
)
def test_foreign_file_is_skipped(store: VoiceStore, content: bytes) -> None:
    """A file that is no voice is not there for anybody, and disturbs no other."""
    good = added(store)
    foreign = store.voice_id(MODEL, b"foreign")
    path_of(store, foreign).write_bytes(content)

    assert ["default", good] == list(store.voices)
    expect_not_found(store, foreign)


@pytest.mark.parametrize("share", [0.0, 0.002, 0.01, 0.1, 0.5, 0.9, 0.9999])
def test_damaged_byte_anywhere_is_noticed(store: VoiceStore, share: float) -> None:
    """One changed byte, in the header or the numbers, and the voice is not there until it is made again."""
    voice_id = added(store)
    path = path_of(store, voice_id)
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 0x11
    path.write_bytes(data)

    expect_not_found(store, voice_id)
    _, already_there = store.add(named(voice_id), random_voice())
    assert not already_there
    assert same(random_voice(), store.conditionals(voice_id, MODEL))


def test_torn_file_is_noticed_after_it_was_good(store: VoiceStore) -> None:
    """Damage that comes while the service runs is seen when the voice is asked for next."""
    voice_id = added(store)
    store.conditionals(voice_id, MODEL)
    os.truncate(path_of(store, voice_id), 1_000)

    expect_not_found(store, voice_id)


def test_file_under_another_voices_name_is_skipped(store: VoiceStore) -> None:
    """A copy under another id is not that voice."""
    voice_id, other = added(store), store.voice_id(MODEL, b"other")
    path_of(store, other).write_bytes(path_of(store, voice_id).read_bytes())

    expect_not_found(store, other)


def test_voice_of_other_weights_is_not_this_models(store: VoiceStore) -> None:
    """A voice made with other weights stays in the folder and is not offered."""
    voice_id = added(store)
    other = voice_store(store.folder, weights={MODEL: "full"})

    expect_not_found(other, voice_id)
    assert voice_id in store.voices


def test_voice_is_not_another_models(tmp_path: Path) -> None:
    """A voice says which models it serves, and others cannot have it."""
    store = voice_store(tmp_path, weights={MODEL: "tiny", "turbo": "tiny"})
    voice_id = added(store)

    with pytest.raises(CallerError):
        store.conditionals(voice_id, "turbo")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.AT_CAPACITY),
        (errno.EDQUOT, Reason.AT_CAPACITY),
        (errno.EROFS, Reason.ENGINE_FAULT),
        (errno.EACCES, Reason.ENGINE_FAULT),
    ],
)
def test_disk_that_takes_nothing_is_told_and_leaves_no_file(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch, number: int, reason: Reason
) -> None:
    """A full disk is no fault of the caller's, says what to do, and leaves neither a voice nor half of one."""
    good = added(store, 1)

    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(weights_module.os, "fsync", full)
    with pytest.raises(ServiceError) as caught:
        added(store)

    assert reason is caught.value.reason
    assert [f"{good}.safetensors"] == [path.name for path in store.folder.iterdir()]


def test_places_for_voices_are_bounded(tmp_path: Path) -> None:
    """One more than allowed is refused; a deletion makes room."""
    store = voice_store(tmp_path, limits=StoreLimits(voices=2))
    first = added(store, 0)
    added(store, 1)
    with pytest.raises(ServiceError, match="all 2 places") as caught:
        added(store, 2)
    store.delete(first)

    assert Reason.AT_CAPACITY is caught.value.reason
    assert added(store, 2) in store.voices


def test_cache_is_bounded_and_drops_what_was_not_used_longest(tmp_path: Path) -> None:
    """Two voices fit; the third takes the place of the one that was asked for the longest ago."""
    store = voice_store(tmp_path, limits=StoreLimits(cache_bytes=2 * random_voice().byte_count))
    one, two, three = (added(store, seed) for seed in range(3))
    first = store.conditionals(one, MODEL)
    store.conditionals(two, MODEL)

    assert first is store.conditionals(one, MODEL)
    second_again = store.conditionals(two, MODEL)
    store.conditionals(one, MODEL)
    store.conditionals(three, MODEL)
    assert first is store.conditionals(one, MODEL)
    assert second_again is not store.conditionals(two, MODEL)


def test_many_threads_store_the_same_voice_once(store: VoiceStore) -> None:
    """Of simultaneous uploads of the same bytes one makes the voice."""
    voice_id = store.voice_id(MODEL, b"a")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: store.add(named(voice_id), random_voice())[1], range(16)))

    assert 1 == answers.count(False)
    assert same(random_voice(), store.conditionals(voice_id, MODEL))


def test_folder_is_the_owners_alone(store: VoiceStore) -> None:
    """A voice is about a person: neither the folder nor a file is open to others."""
    voice_id = added(store)

    assert 0o700 == store.folder.stat().st_mode & 0o777
    assert 0o600 == path_of(store, voice_id).stat().st_mode & 0o777


def test_file_is_safetensors_with_one_document_about_the_voice(store: VoiceStore) -> None:
    """Anybody can read what is stored, and the same voice gives the same bytes."""
    voice_id = added(store)
    with safe_open(path_of(store, voice_id), framework="pt") as file:
        names, about = set(file.keys()), file.metadata()
    first = path_of(store, voice_id).read_bytes()
    store.delete(voice_id)

    assert set(random_voice().tensors()) == names
    assert ["greenroom_voice"] == list(about)
    assert first == path_of(store, added(store)).read_bytes()


def test_foreign_names_in_the_folder_are_left_alone(store: VoiceStore) -> None:
    """Whatever else stands there is neither listed nor touched."""
    voice_id = added(store)
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / f".{voice_id}.safetensors.x1").write_bytes(b"half")
    (store.folder / "subfolder.safetensors").mkdir()

    assert ["default", voice_id] == list(store.voices)
    assert 4 == len(list(store.folder.iterdir()))
    assert 2 == len(store.voices)


@pytest.mark.parametrize(
    "change",
    [
        {"created_unix_seconds": float("nan")},
        {"created_unix_seconds": 1e300},
        {"created_unix_seconds": -1.0},
        {"created_unix_seconds": 10**400},
        {"languages": []},
        {"models": []},
        {"format": 99},
    ],
)
def test_file_that_says_what_cannot_be_is_skipped(store: VoiceStore, change: dict[str, object]) -> None:
    """A file with a good sum may still hold what no list of voices can show."""
    good, other = added(store, 1), added(store, 2)
    tensors, about = contents(path_of(store, other))
    voice = {**about["voice"], **change}
    total = hashlib.sha256(json.dumps(voice, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode() + tensor.numpy().tobytes())
    document = json.dumps({"sha256": total.hexdigest(), "voice": voice})
    path_of(store, other).write_bytes(save(tensors, metadata={"greenroom_voice": document}))

    assert ["default", good] == list(store.voices)


def test_file_whose_numbers_have_another_form_is_skipped(store: VoiceStore) -> None:
    """A number that numpy does not know is no voice's, and no error of the list."""
    voice_id = added(store)
    path = path_of(store, voice_id)
    tensors, about = contents(path)
    tensors["flow.speaker"] = tensors["flow.speaker"].bfloat16()
    path.write_bytes(save(tensors, metadata={"greenroom_voice": json.dumps(about)}))

    expect_not_found(store, voice_id)


def test_document_that_nests_without_end_is_skipped(store: VoiceStore) -> None:
    """A header of brackets is not read to its bottom."""
    voice_id = added(store)
    header = b"[" * 1_000_000
    path_of(store, voice_id).write_bytes(len(header).to_bytes(8, "little") + header)

    expect_not_found(store, voice_id)


def test_voices_that_another_process_deletes_are_not_remembered(store: VoiceStore) -> None:
    """What the store knows about files is bounded by the files that there are."""
    for seed in range(5):
        path_of(store, added(store, seed)).unlink()
    added(store, 9)

    assert ["default"] == list(store.voices)[:1]
    assert "| 1 seen |" in repr(store)


@pytest.mark.parametrize("voice_id", ["../default", "v" + "0" * 31 + "/", "v" + "0" * 32 + "\n", "V" + "0" * 32, ""])
def test_id_of_another_form_reaches_no_file(store: VoiceStore, voice_id: str) -> None:
    """An id that is not exactly one of ours is not looked for, read or deleted."""
    added(store)
    with pytest.raises(CallerError):
        store.delete(voice_id)

    assert store.facts(voice_id) is None
    assert 1 == len(list(store.folder.iterdir()))
