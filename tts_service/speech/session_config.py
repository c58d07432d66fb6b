"""What a session is asked to be, and what it then is.

A `ConfigRequest` is what the client said; `resolve` fills in every default against what the service offers, or says
which field is at fault. A change overlays the request and resolves anew, so that defaults follow what they derive from.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import islice
from typing import TypeVar

from tts_service.errors import CallerError, FieldViolation, Reason, bad_config
from tts_service.speech.language_tags import spoken_language
from tts_service.types import AudioFormat, Priority

Number = TypeVar("Number", int, float)

SettingValues = Mapping[str, int | float]
"""How speech tokens are chosen: settings by their names in the wire's `Sampling`, such as "temperature"."""

MAX_SEED = 2**63 - 1
SPEAKING_RATE_RANGE = (0.5, 2.0)
BUFFER_DELAY_SECONDS_RANGE = (0.0, 60.0)
AUDIO_AHEAD_SECONDS_RANGE = (0.5, 60.0)
VOICES_NAMED = 8
"""Voices that an error names; ListVoices names all."""

MAX_SEGMENT_TOKENS = 1_000
"""Speech tokens of a segment, 40 s; upstream's limit too (`max_new_tokens`, `max_gen_len`)."""

SETTING_RANGES: Mapping[str, tuple[int | float, int | float]] = {
    "temperature": (0.05, 5.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "top_k": (0, 10_000),
    "repetition_penalty": (0.1, 10.0),
    "cfg_weight": (0.0, 5.0),
    "exaggeration": (0.0, 2.0),
    "max_segment_tokens": (1, MAX_SEGMENT_TOKENS),
}
"""Lowest and highest value of each setting. Upstream's demos (`multilingual_app.py`, `gradio_tts_turbo_app.py`, in its
repository and not in the package) offer temperatures of 0.05 to 5, exaggeration of 0.25 to 2, a weight of 0 to 1, a
penalty of 1 to 2 and a top-k up to 1,000; upstream checks nothing. Beyond ours floats overflow or no speech is left."""


class Aggregation(Enum):
    """Who cuts text into speakable pieces."""

    SERVER = "server"
    NONE = "none"


class Pacing(Enum):
    """How fast audio leaves."""

    REALTIME = "realtime"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFacts:
    """A voice as it is listed. `models` are the ids of the models that can use it.

    A voice that was made here has a time (Unix seconds) and a sum (SHA-256 of its stored form, hexadecimal).
    """

    id: str
    display_name: str
    languages: tuple[str, ...]
    models: tuple[str, ...]
    description: str
    created_unix_seconds: float | None = None
    content_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model as it is listed. `settings` are all that it has, with its defaults; `default_voice` is empty for none.

    `tags` are sounds that its text may ask for, `missing_languages` those that it would speak, with what is missing.
    """

    id: str
    description: str
    languages: tuple[str, ...]
    sample_rate_hertz: int
    default_voice: str
    changes_speaking_rate: bool
    settings: SettingValues = field(default_factory=dict)
    creates_voices: bool = False
    tags: tuple[str, ...] = ()
    missing_languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What can be asked for; the first model is the default."""

    models: tuple[ModelFacts, ...]
    voices: Mapping[str, VoiceFacts]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRequest:
    """A configuration as asked for; None means the default, and so does a setting that is not there."""

    model: str | None = None
    voice: str | None = None
    language: str | None = None
    audio_format: AudioFormat = field(default_factory=AudioFormat)
    seed: int | None = None
    speaking_rate: float | None = None
    settings: SettingValues = field(default_factory=dict)
    text_aggregation: Aggregation | None = None
    max_buffer_delay: float | None = None
    pacing: Pacing | None = None
    max_audio_ahead: float | None = None
    priority: Priority | None = None
    reproducible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """A configuration in force, in seconds; a buffer delay of 0 waits for ever. `settings` are all the model's."""

    model: str
    voice: str
    language: str
    audio_format: AudioFormat
    seed: int
    speaking_rate: float
    text_aggregation: Aggregation
    max_buffer_delay: float
    pacing: Pacing
    max_audio_ahead: float
    settings: SettingValues = field(default_factory=dict)
    priority: Priority = Priority.INTERACTIVE
    reproducible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """New values and the paths that they apply to, as on the wire ("voice", "sampling.seed", "*")."""

    request: ConfigRequest
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What fills the gaps where the offer says nothing. `seed` was drawn for this session."""

    seed: int
    pacing: Pacing = Pacing.REALTIME
    max_buffer_delay: float = 3.0
    max_audio_ahead: float = 4.0


def resolve(request: ConfigRequest, offer: Offer, defaults: Defaults) -> SessionConfig:
    """Fill in every default and check every value; raise a CallerError that names the field."""
    model = _model(request.model, offer)
    voice = _voice(request.voice, model, offer)
    return SessionConfig(
        model=model.id,
        voice=voice.id,
        language=_language(request.language, voice, model),
        audio_format=request.audio_format,
        seed=_within("sampling.seed", request.seed, defaults.seed, (0, MAX_SEED)),
        speaking_rate=_speaking_rate(request.speaking_rate, model),
        settings=_settings(request.settings, model),
        text_aggregation=request.text_aggregation or Aggregation.SERVER,
        max_buffer_delay=_within(
            "max_buffer_delay", request.max_buffer_delay, defaults.max_buffer_delay, BUFFER_DELAY_SECONDS_RANGE
        ),
        pacing=request.pacing or defaults.pacing,
        max_audio_ahead=_within(
            "max_audio_ahead", request.max_audio_ahead, defaults.max_audio_ahead, AUDIO_AHEAD_SECONDS_RANGE
        ),
        priority=request.priority or Priority.INTERACTIVE,
        reproducible=request.reproducible,
    )


_FIXED = ("audio_format", "priority", "reproducible")
_FIELDS_BY_PATH: Mapping[str, tuple[str, ...]] = {
    **{each: (each,) for each in ConfigRequest.__slots__ if each not in {*_FIXED, "seed", "speaking_rate", "settings"}},
    "sampling": ("seed", "speaking_rate", "settings"),
    "sampling.seed": ("seed",),
    "sampling.speaking_rate": ("speaking_rate",),
}


def overlay(base: ConfigRequest, change: ConfigChange) -> ConfigRequest:
    """Return the base with the changed fields; raise BAD_CONFIG for a path that is unknown or fixed."""
    if not change.paths:
        raise bad_config("update_mask", "names no field; name those to change, or * for all but audio_format")
    names: set[str] = set()
    settings = dict(base.settings)
    for path in change.paths:
        setting = path.removeprefix("sampling.")
        if path != setting and setting in SETTING_RANGES:
            _take_setting(settings, setting, change.request.settings)
        else:
            names.update(_names(path))
    changed: dict[str, object] = {name: getattr(change.request, name) for name in names}
    return replace(base, **{"settings": settings, **changed})  # type: ignore[arg-type]  # Names of its own fields.


def _take_setting(settings: dict[str, int | float], name: str, given: SettingValues) -> None:
    """Change one setting; one that is not given goes back to its default."""
    settings.pop(name, None)
    if name in given:
        settings[name] = given[name]


def _names(path: str) -> tuple[str, ...]:
    if path == "*":
        return tuple({name for group in _FIELDS_BY_PATH.values() for name in group})
    fixed = path.split(".", maxsplit=1)[0]
    if fixed in _FIXED:
        raise bad_config("update_mask", f"{fixed} is fixed for the session; open another session to change it")
    if path not in _FIELDS_BY_PATH:
        raise bad_config("update_mask", f"{path!r} is no field of SessionConfig")
    return _FIELDS_BY_PATH[path]


def _model(wanted: str | None, offer: Offer) -> ModelFacts:
    if wanted is None:
        return offer.models[0]
    for model in offer.models:
        if model.id == wanted:
            return model
    raise bad_config("model", f"{wanted!r} is not served here; there is {_listed(m.id for m in offer.models)}")


def _voice(wanted: str | None, model: ModelFacts, offer: Offer) -> VoiceFacts:
    name = model.default_voice if wanted is None else wanted
    voice = offer.voices.get(name) if name else None
    if voice is None or model.id not in voice.models:
        missing = f"no voice {name!r}" if name else "no default voice"
        description = f"model {model.id!r} has {missing}; {_voices_there(model, offer)}"
        raise CallerError(
            Reason.VOICE_NOT_FOUND,
            f"voice: {description}",
            violations=(FieldViolation(field="voice", description=description),),
            metadata={"voice": name[:128]},
        )
    return voice


def _voices_there(model: ModelFacts, offer: Offer) -> str:
    """Name some voices of a model; there may be a thousand, and each may go while they are looked through."""
    found = ((voice_id, offer.voices.get(voice_id)) for voice_id in offer.voices)
    usable = (voice_id for voice_id, voice in found if voice is not None and model.id in voice.models)
    some = list(islice(usable, VOICES_NAMED + 1))
    more = ", ..." if len(some) > VOICES_NAMED else ""
    return f"there is {_listed(some[:VOICES_NAMED])}{more}" if some else "there is none: make one with CreateVoice"


def _language(wanted: str | None, voice: VoiceFacts, model: ModelFacts) -> str:
    usable = [tag for tag in voice.languages if tag in model.languages]
    found = next(iter(usable), None) if wanted is None else spoken_language(wanted, usable)
    if found is None:
        asked = "what the model speaks here" if wanted is None else repr(wanted)
        speaks = _listed(usable) if usable else "nothing of that"
        description = f"voice {voice.id!r} does not speak {asked}; it speaks {speaks}"
        raise bad_config("language", description, Reason.BAD_LANGUAGE)
    return found


def _speaking_rate(wanted: float | None, model: ModelFacts) -> float:
    rate = _within("sampling.speaking_rate", wanted, 1.0, SPEAKING_RATE_RANGE)
    if rate != 1.0 and not model.changes_speaking_rate:
        raise bad_config("sampling.speaking_rate", f"model {model.id!r} speaks at 1.0 only")
    return rate


def _settings(wanted: SettingValues, model: ModelFacts) -> SettingValues:
    checked = {name: _within(f"sampling.{name}", value, value, SETTING_RANGES[name]) for name, value in wanted.items()}
    for name in checked:
        if name not in model.settings:
            has = _listed(model.settings) if model.settings else "none of its kind"
            raise bad_config(f"sampling.{name}", f"model {model.id!r} does not have it; it has {has}")
    return {**model.settings, **checked}


def _within(path: str, wanted: Number | None, default: Number, bounds: tuple[Number, Number]) -> Number:
    value = default if wanted is None else wanted
    low, high = bounds
    if not math.isfinite(value) or not low <= value <= high:
        raise bad_config(path, f"must be between {low} and {high}, not {value}")
    return value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
