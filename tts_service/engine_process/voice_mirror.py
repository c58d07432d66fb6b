"""The voices as the engine last told them: what a front end without torch can know of files that hold tensors."""

from collections.abc import Iterable, Iterator, Mapping

from tts_service.speech.session_config import VoiceFacts


class VoiceMirror(Mapping[str, VoiceFacts]):
    """Voices by their ids. What another process adds or deletes shows when the engine has noticed it.

    Who reads on while it changes sees the voices of one moment.
    """

    def __init__(self) -> None:
        self._voices: Mapping[str, VoiceFacts] = {}

    def show(self, voices: Iterable[VoiceFacts]) -> None:
        """Show these from now on."""
        self._voices = {voice.id: voice for voice in voices}

    def __getitem__(self, voice_id: str) -> VoiceFacts:
        return self._voices[voice_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._voices)

    def __len__(self) -> int:
        return len(self._voices)

    def __repr__(self) -> str:
        return f"<VoiceMirror {len(self._voices)} voices>"
