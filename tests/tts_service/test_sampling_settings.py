"""Sampling settings on their way: asked for on the wire, checked against the model, shown back, changed by name."""

import math
from collections.abc import Mapping

import pytest

from greenroom.tts.v1 import tts_pb2 as pb
from tests.fakes.session_driver import SessionDriver
from tts_service.api.requests import config_request
from tts_service.api.responses import utterance_done, wire_config, wire_model
from tts_service.errors import CallerError
from tts_service.speech.protocol import EndUtterance, Flush, GuardedSegment, TextChunk, UtteranceDone
from tts_service.speech.rendering import AudioFinished, RenderSegment, SegmentMade
from tts_service.speech.session_config import (
    SETTING_RANGES,
    ConfigChange,
    ConfigRequest,
    Defaults,
    ModelFacts,
    Offer,
    VoiceFacts,
    overlay,
    resolve,
)
from tts_service.speech.speech_outcome import SpeechGuard, SpeechOutcome
from tts_service.types import EncodedPiece

HAS = {"temperature": 0.8, "top_k": 5, "cfg_weight": 0.5}
MODEL = ModelFacts(
    id="lively",
    description="",
    languages=("en",),
    sample_rate_hertz=24_000,
    default_voice="eve",
    changes_speaking_rate=False,
    settings=HAS,
    creates_voices=True,
    tags=("[laugh]",),
    missing_languages={"ja": ("the Python package pykakasi",)},
)
OFFER = Offer(
    models=(MODEL,),
    voices={"eve": VoiceFacts(id="eve", display_name="", languages=("en",), models=("lively",), description="")},
)
DEFAULTS = Defaults(seed=1)


def asked(**sampling: float) -> ConfigRequest:
    """Return what a client asks with these settings on the wire."""
    return config_request(pb.SessionConfig(sampling=pb.Sampling(**sampling)), streaming=True)  # type: ignore[arg-type]  # Some are whole numbers.


def test_settings_that_are_not_given_are_the_models_own() -> None:
    """Every setting that the model has is in force and shown, the given ones as given."""
    config = resolve(asked(temperature=0.5, top_k=0), OFFER, DEFAULTS)

    assert {"temperature": 0.5, "top_k": 0, "cfg_weight": 0.5} == config.settings
    assert (0.5, 0, 0.5) == (
        wire_config(config).sampling.temperature,
        wire_config(config).sampling.top_k,
        wire_config(config).sampling.cfg_weight,
    )
    assert not wire_config(config).sampling.HasField("min_p")


def test_setting_of_zero_is_given() -> None:
    """Zero is a value and not the absence of one."""
    assert {"cfg_weight": 0.0} == asked(cfg_weight=0.0).settings


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        ({"temperature": 0.0}, "sampling.temperature"),
        ({"temperature": math.nan}, "sampling.temperature"),
        ({"cfg_weight": math.inf}, "sampling.cfg_weight"),
        ({"cfg_weight": -0.1}, "sampling.cfg_weight"),
        ({"top_k": -1}, "sampling.top_k"),
        ({"exaggeration": 0.5}, "sampling.exaggeration"),
        ({"max_segment_tokens": 0}, "sampling.max_segment_tokens"),
    ],
)
def test_setting_that_cannot_be_served_names_its_field(sampling: Mapping[str, float], field: str) -> None:
    """A value out of range, no number, or a setting that the model does not have is refused."""
    with pytest.raises(CallerError) as refused:
        resolve(asked(**sampling), OFFER, DEFAULTS)

    assert [field] == [violation.field for violation in refused.value.violations]


def test_every_setting_of_the_wire_has_a_range() -> None:
    """No field of Sampling is forgotten."""
    own = {"seed", "speaking_rate"}

    assert set(SETTING_RANGES) == {field.name for field in pb.Sampling.DESCRIPTOR.fields} - own


def test_update_changes_the_named_setting_alone() -> None:
    """Other settings stay as they were asked for; a named one that is not given goes back to its default."""
    base = asked(temperature=0.5, cfg_weight=0.1)
    changed = overlay(base, ConfigChange(request=asked(temperature=0.9, top_k=1), paths=("sampling.temperature",)))
    back = overlay(changed, ConfigChange(request=asked(), paths=("sampling.cfg_weight",)))

    assert {"temperature": 0.9, "cfg_weight": 0.1} == changed.settings
    assert {"temperature": 0.9, "top_k": 5, "cfg_weight": 0.5} == resolve(back, OFFER, DEFAULTS).settings


def test_update_of_all_sampling_replaces_every_setting() -> None:
    """The whole message stands for what it says and for defaults elsewhere."""
    base = asked(temperature=0.5)
    changed = overlay(base, ConfigChange(request=asked(top_k=2), paths=("sampling",)))

    assert {"top_k": 2} == changed.settings


def test_model_is_listed_with_what_it_has() -> None:
    """Clients learn its settings with defaults, its tags, and what is missing for which language."""
    wire = wire_model(MODEL)

    assert set(HAS) == {field.name for field, _ in wire.default_sampling.ListFields()}
    assert (["[laugh]"], True) == (list(wire.tags), wire.creates_voices)
    assert [("ja", ["the Python package pykakasi"])] == [
        (each.language, list(each.missing)) for each in wire.missing_languages
    ]


def test_done_tells_tokens_and_the_segments_that_a_guard_ended() -> None:
    """Speech tokens add up over segments, and a guarded segment is named by its text."""
    driver = SessionDriver(rendering=False).say(
        TextChunk(utterance_id="u", text="One is here. Two is here."), Flush(utterance_id="u")
    )
    outcomes = [SpeechOutcome(speech_tokens=30), SpeechOutcome(speech_tokens=12, guard=SpeechGuard.LOOP)]
    segments = []
    for outcome in outcomes:
        order = next(each for each in driver.orders if isinstance(each, RenderSegment))
        driver.orders.clear()
        segments.append(order.segment)
        made = SegmentMade(
            utterance_id="u",
            segment=order.segment,
            sample_start=0,
            sample_end=10,
            compute_seconds=0.0,
            outcome=outcome,
        )
        driver.session.rendered(made, driver.clock())
        driver.run()
    end(driver)

    done = next(each for each in driver.messages if isinstance(each, UtteranceDone))
    wire = utterance_done(done)
    assert (42, (GuardedSegment(segment=segments[1], guard=SpeechGuard.LOOP),)) == (
        done.speech_tokens,
        done.guarded_segments,
    )
    assert [(segments[1].text_start, segments[1].text_end, pb.SPEECH_GUARD_LOOP)] == [
        (each.text_start, each.text_end, each.guard) for each in wire.guarded_segments
    ]


def end(driver: SessionDriver) -> None:
    """End the utterance and its audio."""
    driver.session.receive(EndUtterance(utterance_id="u"), driver.clock())
    driver.run()
    piece = EncodedPiece(data=b"", sample_count=0)
    driver.session.rendered(AudioFinished(utterance_id="u", piece=piece, compute_seconds=0.0), driver.clock())
    driver.run()
