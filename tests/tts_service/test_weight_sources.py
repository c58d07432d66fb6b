"""Where weights come from: a folder, the cache, the hub when it may be asked, or made here."""

import itertools
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.fakes.fake_hub import COMMIT, FakeHub
from tests.fakes.no_network import cut_network
from tts_service.errors import StartupError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.hub import cached_folder, hub_folder
from tts_service.models.chatterbox.layout import LAYOUTS
from tts_service.models.chatterbox.loading import no_progress
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.sources import (
    FolderSource,
    HubSource,
    SyntheticSource,
    WeightSource,
    parse_source,
    weights_folder,
)
from tts_service.models.chatterbox.synthetic_folder import FORMAT

ENGLISH, _, TURBO = ChatterboxModel
LAYOUT = LAYOUTS[ENGLISH]
FILES = {file: bytes(itertools.islice(itertools.cycle(file.encode()), 50_000)) for file in LAYOUT.files}
NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hub", HubSource(download=False)),
        ("synthetic", SyntheticSource(size=NetworkSize.FULL)),
        ("synthetic:full", SyntheticSource(size=NetworkSize.FULL)),
        ("synthetic:tiny", SyntheticSource(size=NetworkSize.TINY)),
        ("weights/english", FolderSource(folder=Path("weights/english"))),
        ("./hub", FolderSource(folder=Path("hub"))),
    ],
)
def test_text_names_a_source(text: str, source: WeightSource) -> None:
    """Three words have a meaning; all else is a path."""
    assert source == parse_source(text)


def test_home_folder_is_understood() -> None:
    """A path that a shell did not expand is expanded here."""
    assert FolderSource(folder=Path.home() / "weights") == parse_source("~/weights")


def test_download_is_allowed_by_the_caller_alone() -> None:
    """The word `hub` does not by itself ask anybody."""
    assert HubSource(download=True) == parse_source("hub", download=True)


def test_unknown_size_is_refused() -> None:
    """The message names the two that there are."""
    with pytest.raises(StartupError, match="synthetic:tiny"):
        parse_source("synthetic:huge")


def test_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    """What is in it is the loader's to judge; that it is there is checked here."""
    taken = weights_folder(FolderSource(folder=tmp_path), ENGLISH, cache_folder=tmp_path, progress=no_progress)
    with pytest.raises(StartupError, match="is not a folder"):
        weights_folder(FolderSource(folder=tmp_path / "no"), ENGLISH, cache_folder=tmp_path, progress=no_progress)

    assert tmp_path == taken


def test_synthetic_weights_are_made_into_the_cache(tmp_path: Path) -> None:
    """They are there for the next start, by model, size and seed."""
    source = SyntheticSource(size=NetworkSize.TINY, seed=4)
    folder = weights_folder(source, ENGLISH, cache_folder=tmp_path, progress=no_progress)

    assert tmp_path / "synthetic" / f"english-tiny-seed4-{FORMAT}" == folder
    assert set(LAYOUT.files) == {path.name for path in folder.iterdir()}


def test_hub_is_asked_for_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source's permission and the model's repository go to the hub's door."""
    asked = []

    def door(layout: object, *, download: bool, progress: object) -> Path:
        asked.append((layout, download, progress))
        return tmp_path

    monkeypatch.setattr("tts_service.models.chatterbox.hub.hub_folder", door)
    weights_folder(HubSource(download=True), TURBO, cache_folder=tmp_path, progress=no_progress)

    assert [(LAYOUTS[TURBO], True, no_progress)] == asked


def _fill_cache(cache: Path, files: set[str]) -> Path:
    repository = cache / f"models--{LAYOUT.repository.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for file in files:
        (snapshot / file).write_bytes(FILES[file])
    return snapshot


def test_cache_is_used_without_asking_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What upstream's package has downloaded is found, even where the hub might be asked."""
    snapshot = _fill_cache(tmp_path, set(LAYOUT.required_files))
    asked = cut_network(monkeypatch)

    assert snapshot == hub_folder(LAYOUT, download=True, progress=no_progress, cache_folder=tmp_path)
    assert [] == asked


def test_cache_that_lacks_a_file_is_no_cache(tmp_path: Path) -> None:
    """A folder is handed out whole or not."""
    _fill_cache(tmp_path, set(LAYOUT.required_files) - {"tokenizer.json"})

    assert cached_folder(LAYOUT, cache_folder=tmp_path) is None


def test_hub_is_not_asked_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what can be done instead."""
    asked = cut_network(monkeypatch)
    with pytest.raises(StartupError, match="allow the download"):
        hub_folder(LAYOUT, download=False, progress=no_progress, cache_folder=tmp_path)

    assert [] == asked


def test_hub_that_cannot_be_reached_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers: the message names model and reason, and what to do."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(StartupError, match=r"english model .* cannot be downloaded: .*Try again"):
        hub_folder(LAYOUT, download=True, progress=no_progress, cache_folder=tmp_path, endpoint=NOBODY)


def test_hub_that_must_not_be_asked_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is obeyed, and named."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = cut_network(monkeypatch)
    with pytest.raises(StartupError, match="HF_HUB_OFFLINE is set"):
        hub_folder(LAYOUT, download=True, progress=no_progress, cache_folder=tmp_path, endpoint=NOBODY)

    assert [] == asked


def test_hub_that_does_not_know_the_model_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository whose files are other ones gives a folder that the loader refuses, or an error here."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with FakeHub({}) as hub, pytest.raises(StartupError, match="has none of"):
        hub_folder(LAYOUT, download=True, progress=no_progress, cache_folder=tmp_path, endpoint=hub.endpoint)


def test_download_takes_what_the_layout_names_and_tells_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other files of the repository stay where they are; progress ends at all bytes; the next time nobody is asked."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    told: list[tuple[int, int]] = []
    with FakeHub(FILES | {"other.bin": b"other"}) as hub:
        folder = hub_folder(
            LAYOUT,
            download=True,
            progress=lambda done, total: told.append((done, total)),
            cache_folder=tmp_path,
            endpoint=hub.endpoint,
        )
        requests = len(hub.asked)
        again = hub_folder(LAYOUT, download=True, progress=no_progress, cache_folder=tmp_path, endpoint=hub.endpoint)
        assert requests == len(hub.asked)
    total = sum(map(len, FILES.values()))

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert ((total, total), folder) == (told[-1], again)


def test_download_that_breaks_off_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that arrived are not asked for again."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    with FakeHub(FILES, cut_after_bytes=20_000) as hub:
        folder = hub_folder(LAYOUT, download=True, progress=no_progress, cache_folder=tmp_path, endpoint=hub.endpoint)
    begun_at = {name: start for method, name, start in hub.asked if method == "GET" and name in FILES}

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert dict.fromkeys(FILES, 20_000) == begun_at
