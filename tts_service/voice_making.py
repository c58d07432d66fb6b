"""Makes voices of uploads with the engine's encoders, beside speech, and stores them.

Who waits may go away: the work then ends after the step under way, and nothing is stored.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager

from tts_service.engine import Engine
from tts_service.errors import Reason, ServiceError
from tts_service.speech.new_voice import NewVoice, VoiceContent
from tts_service.speech.reference_audio import REFERENCE_LIMITS, ReferenceLimits, read_reference
from tts_service.speech.session_config import VoiceFacts
from tts_service.speech.uploaded_conditionals import read_uploaded_conditionals
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_encoding import ENCODER_MODULES, EncodingRules, VoiceEncoding
from tts_service.speech.voice_store import VoiceStore
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, ModuleName


class VoiceMaker:
    """Makes voices. `rules` are those of each model that has any, by its id; `executor` bounds how many compute."""

    def __init__(
        self,
        engine: Engine,
        store: VoiceStore,
        *,
        rules: Mapping[str, EncodingRules],
        executor: Executor,
        reference: ReferenceLimits = REFERENCE_LIMITS,
    ) -> None:
        self._engine = engine
        self._store = store
        self._rules = rules
        self._executor = executor
        self._reference = reference

    @contextmanager
    def called(self) -> Iterator[None]:
        """Have the encoders come for a block; whether they came shows when they are leased."""
        with self._engine.residency.claim(ENCODER_MODULES):
            coming = self._engine.call(ENCODER_MODULES)
            try:
                yield
            finally:
                if coming is not None:
                    coming.cancel()

    def delete(self, voice_id: str) -> None:
        """Delete a voice; may wait for the disk. Raises VOICE_NOT_FOUND, or BAD_CONFIG for a model's own."""
        self._store.delete(voice_id)

    async def made(self, wanted: NewVoice, content: bytes) -> tuple[VoiceFacts, bool]:
        """Make the voice in a thread of its own; when whoever waits is cancelled, so is the work."""
        gone = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, self._make, wanted, content, gone.is_set)
        finally:
            gone.set()

    def _make(self, wanted: NewVoice, content: bytes, is_gone: Callable[[], bool]) -> tuple[VoiceFacts, bool]:
        voice_id = self._store.voice_id(wanted.model, content)
        known = self._store.facts(voice_id)
        if known is not None:
            return known, True
        voice, description = self._voice(wanted, content, is_gone)
        _check_wanted(is_gone)
        return self._store.add(wanted.facts(voice_id, description), voice)

    def _voice(self, wanted: NewVoice, content: bytes, is_gone: Callable[[], bool]) -> tuple[VoiceConditionals, str]:
        rules = self._rules[wanted.model]
        if wanted.content is VoiceContent.UPSTREAM_CONDITIONALS:
            voice = read_uploaded_conditionals(content, max_prompt_tokens=rules.prompt_tokens)
            return voice, "Imported from upstream's conditionals."
        samples = read_reference(content, self._reference)
        encoding = VoiceEncoding(samples, rules)
        while modules := encoding.next_modules:
            _check_wanted(is_gone)
            self._step(encoding, modules)
        return encoding.voice(), f"Made from {len(samples) / MODEL_SAMPLE_RATE_HERTZ:.1f} s of reference audio."

    def _step(self, encoding: VoiceEncoding, modules: frozenset[ModuleName]) -> None:
        (module,) = modules
        self._engine.borrow(module, lambda lent: encoding.step({module: lent}))

    def __repr__(self) -> str:
        return f"<VoiceMaker into {self._store!r}>"


def _check_wanted(is_gone: Callable[[], bool]) -> None:
    """Raise if nobody waits for the voice any more; then nobody hears of this error either."""
    if is_gone():
        raise ServiceError(Reason.ENGINE_FAULT, "the client went away")
