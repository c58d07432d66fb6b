"""Where voices are kept: a folder of files, one a voice, and the voices that models bring with them.

Rules
* A voice's id is made from the model, its weights and the bytes that were sent, so that the same upload gives the same
  voice; no id that is asked for reaches the disk unless it has exactly that form.
* The folder is the truth: whatever another process adds or deletes there is seen when it is next asked for.
* A file appears whole or not at all. One that is damaged or foreign is told once and otherwise not there.
* Whoever has a voice's numbers keeps them, whatever becomes of the file.
"""

import errno
import hashlib
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from tts_service.errors import Reason, ServiceError, bad_config, voice_not_found
from tts_service.models.weights import write_atomically
from tts_service.speech.session_config import VoiceFacts
from tts_service.speech.voice_cache import VoiceCache
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_file import BadVoiceFileError, StoredVoice, content_sum, read_voice, voice_bytes

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""A voice's file has 0.2 MiB; whatever is much larger is something else and not read."""

NO_ROOM_RETRY_SECONDS: Final = 60.0
FOLDER_MODE: Final = 0o700
SUFFIX: Final = ".safetensors"

_ID: Final = re.compile(r"v[0-9a-f]{32}")
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnVoice:
    """A voice that belongs to a model; it cannot be deleted."""

    facts: VoiceFacts
    conditionals: VoiceConditionals


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """How many voices may be stored, and the bytes of those that are kept in memory."""

    voices: int = 1_000
    cache_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a file held when it looked like this (its number, length and time); None for what is no voice to use."""

    mark: tuple[int, int, int]
    facts: VoiceFacts | None


class VoiceStore:
    """The voices of a service. Safe to use from any thread.

    `weights` names each model's weights by the model's id: a voice made with others is not this model's. `clock` gives
    Unix seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        weights: Mapping[str, str],
        own: Iterable[OwnVoice] = (),
        clock: Callable[[], float],
        limits: StoreLimits | None = None,
    ) -> None:
        self.folder = folder
        self.voices: Mapping[str, VoiceFacts] = _LiveVoices(self)
        self._weights = dict(weights)
        self._own = {each.facts.id: each for each in own}
        self._clock = clock
        self._limits = limits or StoreLimits()
        self._cache = VoiceCache(self._limits.cache_bytes)
        self._seen: dict[str, _Seen] = {}
        self._changing = threading.Lock()

    def voice_id(self, model: str, content: bytes) -> str:
        """Return the id of the voice that these bytes give for a model."""
        source = f"{model}\0{self._weights[model]}\0".encode()
        return f"v{hashlib.sha256(source + content).hexdigest()[:32]}"

    def ids(self) -> Iterator[str]:
        """Yield the ids of all voices, those that belong to models first."""
        yield from self._own
        names = self._names()
        for voice_id in set(self._seen).difference(name.removesuffix(SUFFIX) for name in names):
            self.facts(voice_id)  # It is seen to be gone, and forgotten.
        for name in names:
            voice_id = name.removesuffix(SUFFIX)
            if voice_id != name and self.facts(voice_id) is not None:
                yield voice_id

    def facts(self, voice_id: str) -> VoiceFacts | None:
        """Return what is known about a voice, None if there is none of this id."""
        if voice_id in self._own:
            return self._own[voice_id].facts
        mark = self._mark(voice_id)
        if mark is None:
            self._seen.pop(voice_id, None)
            self._cache.forget(voice_id)
            return None
        seen = self._seen.get(voice_id)
        if seen is None or seen.mark != mark:
            voice = self._read(voice_id)
            seen = self._seen[voice_id] = _Seen(mark=mark, facts=None if voice is None else voice.facts)
            self._cache.forget(voice_id)
        return seen.facts

    def conditionals(self, voice_id: str, model: str) -> VoiceConditionals:
        """Return a voice's numbers, on the CPU, to be kept as long as they are needed. Raises VOICE_NOT_FOUND."""
        facts = self.facts(voice_id)
        if facts is None or model not in facts.models:
            raise voice_not_found(voice_id)
        if voice_id in self._own:
            return self._own[voice_id].conditionals
        kept = self._cache.get(voice_id)
        if kept is None:
            voice = self._read(voice_id)
            if voice is None:
                raise voice_not_found(voice_id)
            kept = voice.conditionals
            self._cache.keep(voice_id, kept)
        return kept

    def add(self, facts: VoiceFacts, conditionals: VoiceConditionals) -> tuple[VoiceFacts, bool]:
        """Store a new voice, made now for the one model that `facts` names; return it as it is listed.

        True if it was there already; its name is then what it was. Raises ServiceError AT_CAPACITY (no room on the
        disk, or too many voices) or ENGINE_FAULT (the folder cannot be written).
        """
        (model,) = facts.models
        with self._changing:
            known = self.facts(facts.id)
            if known is not None:
                return known, True
            self._check_count()
            made = StoredVoice(
                facts=replace(facts, created_unix_seconds=self._clock()),
                weights=self._weights[model],
                conditionals=conditionals,
            )
            self._write(facts.id, voice_bytes(made))
            _log.info("voice_stored", voice=facts.id, model=model, bytes=conditionals.byte_count)
            return replace(made.facts, content_sha256=content_sum(made)), False

    def delete(self, voice_id: str) -> None:
        """Delete a voice. Raises VOICE_NOT_FOUND, or BAD_CONFIG for one that belongs to a model."""
        if voice_id in self._own:
            models = ", ".join(self._own[voice_id].facts.models)
            raise bad_config("voice", f"{voice_id!r} belongs to model {models} and cannot be deleted")
        with self._changing:
            if self.facts(voice_id) is None:
                raise voice_not_found(voice_id)
            try:
                self._path(voice_id).unlink(missing_ok=True)
            except OSError as error:
                raise self._unwritable(error) from error
            self.facts(voice_id)  # It is seen to be gone.
        _log.info("voice_deleted", voice=voice_id)

    # --- the folder ---------------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return []  # It is made for the first voice.
        except OSError as error:
            _log.warning("voice_folder_unreadable", folder=str(self.folder), error=str(error))
            return []

    def _path(self, voice_id: str) -> Path:
        assert _ID.fullmatch(voice_id)
        return self.folder / f"{voice_id}{SUFFIX}"

    def _mark(self, voice_id: str) -> tuple[int, int, int] | None:
        """Return by what a file's change is noticed; None if there is no plain file of this name."""
        if not _ID.fullmatch(voice_id):
            return None
        try:
            found = self._path(voice_id).lstat()
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    def _read(self, voice_id: str) -> StoredVoice | None:
        """Return a file's voice, with those of its models that are here; None, and a word in the log, if it is none."""
        path = self._path(voice_id)
        try:
            voice = _voice_in(path, voice_id)
        except (OSError, BadVoiceFileError) as error:
            _log.warning("voice_skipped", path=str(path), error=str(error))
            return None
        models = tuple(model for model in voice.facts.models if self._weights.get(model) == voice.weights)
        if not models:
            _log.info("voice_of_other_models", path=str(path), models=voice.facts.models, weights=voice.weights)
            return None
        return replace(voice, facts=replace(voice.facts, models=models))

    def _write(self, voice_id: str, data: bytes) -> None:
        try:
            self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            write_atomically(self._path(voice_id), data)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ServiceError:
        _log.error("voice_folder_failed", folder=str(self.folder), error=str(error))
        if error.errno in _NO_ROOM:
            message = "there is no room on the service's disk for another voice; delete some, or ask its operator"
            return ServiceError(Reason.AT_CAPACITY, message, retry_after_seconds=NO_ROOM_RETRY_SECONDS)
        message = f"the service cannot write its voice folder ({error.strerror}); its operator must mend that"
        return ServiceError(Reason.ENGINE_FAULT, message)

    def _check_count(self) -> None:
        if len(self.voices) - len(self._own) >= self._limits.voices:
            message = f"all {self._limits.voices} places for voices are taken; delete some that are not used"
            raise ServiceError(Reason.AT_CAPACITY, message, retry_after_seconds=NO_ROOM_RETRY_SECONDS)

    def __repr__(self) -> str:
        return f"<VoiceStore {self.folder} | {len(self._own)} of models | {len(self._seen)} seen | {self._cache!r}>"


def _voice_in(path: Path, voice_id: str) -> StoredVoice:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise BadVoiceFileError(f"holds more than {MAX_FILE_BYTES} bytes")
    voice = read_voice(data)
    if voice.facts.id != voice_id:
        raise BadVoiceFileError(f"holds the voice {voice.facts.id[:64]!r}, not that of its name")
    return voice


class _LiveVoices(Mapping[str, VoiceFacts]):
    """The voices as they are at the moment of asking."""

    def __init__(self, store: VoiceStore) -> None:
        self._store = store

    def __getitem__(self, voice_id: str) -> VoiceFacts:
        facts = self._store.facts(voice_id)
        if facts is None:
            raise KeyError(voice_id)
        return facts

    def __iter__(self) -> Iterator[str]:
        return self._store.ids()

    def __len__(self) -> int:
        return sum(1 for _ in self._store.ids())

    def __repr__(self) -> str:
        return f"<_LiveVoices of {self._store!r}>"
