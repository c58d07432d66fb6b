"""What a session is asked to be, and what it then is."""

import math

import pytest

from tests.fakes.session_driver import OFFER
from tts_service.errors import CallerError, Reason
from tts_service.speech.session_config import (
    Aggregation,
    ConfigChange,
    ConfigRequest,
    Defaults,
    ModelFacts,
    Offer,
    Pacing,
    VoiceFacts,
    overlay,
    resolve,
)
from tts_service.types import Priority

DEFAULTS = Defaults(seed=42)


def test_resolve_nothing_asked_fills_in_every_default() -> None:
    """An empty request becomes the default model with its own voice and language."""
    config = resolve(ConfigRequest(), OFFER, DEFAULTS)

    assert ("toy", "ann", "en-US", 42, 1.0) == (
        config.model,
        config.voice,
        config.language,
        config.seed,
        config.speaking_rate,
    )
    assert (Aggregation.SERVER, 3.0, Pacing.REALTIME, 4.0) == (
        config.text_aggregation,
        config.max_buffer_delay,
        config.pacing,
        config.max_audio_ahead,
    )


@pytest.mark.parametrize(
    ("asked", "field", "reason"),
    [
        (ConfigRequest(model="none"), "model", Reason.BAD_CONFIG),
        (ConfigRequest(voice="none"), "voice", Reason.VOICE_NOT_FOUND),
        (ConfigRequest(model="stiff", voice="ann"), "voice", Reason.VOICE_NOT_FOUND),
        (ConfigRequest(language="fr"), "language", Reason.BAD_LANGUAGE),
        (ConfigRequest(voice="uta", language="en"), "language", Reason.BAD_LANGUAGE),
        (ConfigRequest(seed=-1), "sampling.seed", Reason.BAD_CONFIG),
        (ConfigRequest(seed=2**63), "sampling.seed", Reason.BAD_CONFIG),
        (ConfigRequest(speaking_rate=0.4), "sampling.speaking_rate", Reason.BAD_CONFIG),
        (ConfigRequest(speaking_rate=math.nan), "sampling.speaking_rate", Reason.BAD_CONFIG),
        (ConfigRequest(model="stiff", speaking_rate=1.1), "sampling.speaking_rate", Reason.BAD_CONFIG),
        (ConfigRequest(max_buffer_delay=-0.1), "max_buffer_delay", Reason.BAD_CONFIG),
        (ConfigRequest(max_buffer_delay=math.inf), "max_buffer_delay", Reason.BAD_CONFIG),
        (ConfigRequest(max_audio_ahead=0.4), "max_audio_ahead", Reason.BAD_CONFIG),
    ],
)
def test_resolve_bad_value_names_its_field_and_reason(asked: ConfigRequest, field: str, reason: Reason) -> None:
    """Each value that cannot be served is refused with the field at fault."""
    with pytest.raises(CallerError) as raised:
        resolve(asked, OFFER, DEFAULTS)

    assert ([field], reason) == ([v.field for v in raised.value.violations], raised.value.reason)


@pytest.mark.parametrize("tag", ["en-us", "EN-US", "en", "En"])
def test_resolve_language_ignores_case(tag: str) -> None:
    """BCP 47 tags are compared without case, and echoed as the voice writes them."""
    assert tag.lower() == resolve(ConfigRequest(language=tag), OFFER, DEFAULTS).language.lower()


def test_overlay_changes_only_the_named_fields() -> None:
    """A field that the mask does not name keeps its value."""
    base = ConfigRequest(voice="bob", seed=1)
    change = ConfigChange(request=ConfigRequest(seed=2, voice="uta"), paths=("sampling.seed",))

    assert ("bob", 2) == (overlay(base, change).voice, overlay(base, change).seed)


def test_overlay_of_an_unset_field_goes_back_to_the_default() -> None:
    """A named field without a value is cleared."""
    change = ConfigChange(request=ConfigRequest(), paths=("voice",))

    assert "ann" == resolve(overlay(ConfigRequest(voice="bob"), change), OFFER, DEFAULTS).voice


def test_overlay_star_changes_all_but_the_format() -> None:
    """The star covers every field that may change."""
    base = ConfigRequest(voice="bob", seed=1, speaking_rate=0.5, pacing=Pacing.NONE)
    changed = overlay(base, ConfigChange(request=ConfigRequest(seed=9), paths=("*",)))

    assert ConfigRequest(seed=9, audio_format=base.audio_format) == changed


@pytest.mark.parametrize("path", ["audio_format", "audio_format.encoding", "nonsense", "sampling.nonsense", ""])
def test_overlay_unknown_or_fixed_path_is_refused(path: str) -> None:
    """A path that names nothing, or what is fixed, is BAD_CONFIG."""
    with pytest.raises(CallerError) as raised:
        overlay(ConfigRequest(), ConfigChange(request=ConfigRequest(), paths=(path,)))

    assert ["update_mask"] == [v.field for v in raised.value.violations]


def _offer(voice_count: int, *, languages: tuple[str, ...] = ("en",), default: str = "") -> Offer:
    """Return one model that speaks English, Norwegian and German, and so many voices."""
    model = ModelFacts(
        id="m",
        description="",
        languages=("en", "no", "de"),
        sample_rate_hertz=24_000,
        default_voice=default,
        changes_speaking_rate=False,
        settings={"temperature": 0.8, "top_k": 0},
    )
    voices = (
        VoiceFacts(id=f"v{number}", display_name="", languages=languages, models=("m",), description="")
        for number in range(voice_count)
    )
    return Offer(models=(model,), voices={voice.id: voice for voice in voices})


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "no default voice; there is none: make one"), (2, "there is 'v0', 'v1'"), (500, "'v6', 'v7', ...")],
)
def test_model_without_a_default_voice_asks_for_one_and_names_some(count: int, words: str) -> None:
    """Whoever names no voice is told so; of many voices an error names a few."""
    with pytest.raises(CallerError) as raised:
        resolve(ConfigRequest(), _offer(count), DEFAULTS)

    assert Reason.VOICE_NOT_FOUND is raised.value.reason
    assert words in raised.value.message
    assert "v8" not in raised.value.message


def test_language_is_one_that_the_model_still_speaks() -> None:
    """A voice may name a language whose packages are gone: the next one is its default, and that one is refused."""
    offer = _offer(1, languages=("zh", "de"), default="v0")
    with pytest.raises(CallerError) as raised:
        resolve(ConfigRequest(language="zh"), offer, DEFAULTS)

    assert ("de", Reason.BAD_LANGUAGE) == (resolve(ConfigRequest(), offer, DEFAULTS).language, raised.value.reason)


def test_voice_of_no_language_that_is_left_is_refused() -> None:
    """It is the language that is at fault, whether one was named or not."""
    with pytest.raises(CallerError) as raised:
        resolve(ConfigRequest(), _offer(1, languages=("zh",), default="v0"), DEFAULTS)

    assert Reason.BAD_LANGUAGE is raised.value.reason


@pytest.mark.parametrize("tag", ["nb", "nn-NO", "no", "NB_no"])
def test_language_is_known_under_its_other_codes(tag: str) -> None:
    """Both Norwegian languages are the one that the model calls Norwegian."""
    offer = _offer(1, languages=("en", "no"), default="v0")

    assert "no" == resolve(ConfigRequest(language=tag), offer, DEFAULTS).language


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("*",), {"temperature": 0.8, "top_k": 5}),
        (("sampling",), {"temperature": 0.8, "top_k": 5}),
        (("sampling.top_k",), {"temperature": 0.3, "top_k": 5}),
        (("sampling.temperature",), {"temperature": 0.8, "top_k": 0}),
        (("sampling.temperature", "sampling.top_k"), {"temperature": 0.8, "top_k": 5}),
        (("sampling.seed",), {"temperature": 0.3, "top_k": 0}),
        (("sampling.temperature", "*"), {"temperature": 0.8, "top_k": 5}),
    ],
)
def test_overlay_of_settings_takes_the_named_ones_and_resets_what_is_not_given(
    paths: tuple[str, ...], expected: dict[str, float]
) -> None:
    """A mask that covers a setting without a value clears it; what it does not cover stays."""
    offer = _offer(1, default="v0")
    base = ConfigRequest(settings={"temperature": 0.3})
    changed = overlay(base, ConfigChange(request=ConfigRequest(settings={"top_k": 5}), paths=paths))

    assert expected == resolve(changed, offer, DEFAULTS).settings


def test_priority_is_interactive_unless_asked_and_fixed_for_the_session() -> None:
    """Who listens is known from the beginning, because a session is let in by it."""
    plain = resolve(ConfigRequest(), OFFER, DEFAULTS)
    bulk = resolve(ConfigRequest(priority=Priority.BULK), OFFER, DEFAULTS)
    with pytest.raises(CallerError) as caught:
        overlay(ConfigRequest(), ConfigChange(request=ConfigRequest(priority=Priority.BULK), paths=("priority",)))
    kept = overlay(ConfigRequest(priority=Priority.BULK), ConfigChange(request=ConfigRequest(), paths=("*",)))

    assert (Priority.INTERACTIVE, Priority.BULK, Priority.BULK) == (plain.priority, bulk.priority, kept.priority)
    assert "priority is fixed for the session" in caught.value.message
