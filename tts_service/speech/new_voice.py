"""What a new voice is asked to be, against what the service offers. Pure."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tts_service.errors import Reason, bad_config
from tts_service.speech.language_tags import spoken_language
from tts_service.speech.session_config import ModelFacts, Offer, VoiceFacts

MAX_NAME_CHARS: Final = 128
NO_VOICES_HERE: Final = (
    "this service speaks with a model that makes no voices; its operator can start it with one that does, "
    "for example tts-service --model english"
)


class VoiceContent(Enum):
    """What the bytes of a new voice are."""

    REFERENCE_AUDIO = "reference_audio"
    UPSTREAM_CONDITIONALS = "upstream_conditionals"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVoice:
    """A voice as it is to be made: for `model`, for people called `display_name` (empty: by its id)."""

    model: str
    display_name: str
    languages: tuple[str, ...]
    content: VoiceContent

    def facts(self, voice_id: str, description: str) -> VoiceFacts:
        """Return the voice as it will be listed."""
        return VoiceFacts(
            id=voice_id,
            display_name=self.display_name or voice_id,
            languages=self.languages,
            models=(self.model,),
            description=description,
        )


def resolve_new_voice(
    *, display_name: str, model: str, languages: tuple[str, ...], content: VoiceContent, offer: Offer
) -> NewVoice:
    """Fill in the defaults (model "", no languages) and check; raise a CallerError that names the field."""
    if len(display_name) > MAX_NAME_CHARS or not display_name.isprintable():
        raise bad_config("spec.display_name", f"must be at most {MAX_NAME_CHARS} printable characters")
    facts = _model(model, offer)
    return NewVoice(
        model=facts.id,
        display_name=display_name.strip(),
        languages=tuple(dict.fromkeys(_language(tag, facts) for tag in languages)) or facts.languages,
        content=content,
    )


def _model(wanted: str, offer: Offer) -> ModelFacts:
    makers = [model for model in offer.models if model.creates_voices]
    if not makers:
        raise bad_config("spec.model", "no model of this service makes voices; its operator can start one that does")
    for model in makers if wanted else makers[:1]:
        if wanted in {"", model.id}:
            return model
    listed = ", ".join(repr(model.id) for model in makers)
    raise bad_config("spec.model", f"{wanted[:64]!r} makes no voices here; there is {listed}")


def _language(wanted: str, model: ModelFacts) -> str:
    found = spoken_language(wanted, model.languages)
    if found is not None:
        return found
    listed = ", ".join(model.languages)
    description = f"model {model.id!r} does not speak {wanted[:64]!r}; it speaks {listed}"
    raise bad_config("spec.languages", description, Reason.BAD_LANGUAGE)
