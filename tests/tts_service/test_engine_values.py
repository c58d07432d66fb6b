"""Values on their way between the front end and the engine: what was said is what is heard, and nothing else is."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.engine_process.messages import (
    CallFailed,
    Ordered,
    Piece,
    Pulse,
    Ready,
    Rendered,
    Reported,
    VoicesThere,
    WatermarkLooked,
    engine_words,
    front_words,
)
from tts_service.engine_process.values import BadValueError, Vocabulary
from tts_service.errors import CallerError, FieldViolation, Reason, ServiceError
from tts_service.late_counts import LateCounts
from tts_service.residency.types import DeviceUsage, ModuleState, ModuleStatus, PendingMove, ResidencyReport, Tier
from tts_service.speech.rendering import (
    AudioFinished,
    AudioMade,
    DiscardAudio,
    FinishAudio,
    NextWelcome,
    RenderFailed,
    RenderSegment,
    RenderStarted,
    RestoreAwaited,
    SegmentMade,
    SegmentSpoken,
)
from tts_service.speech.session_config import Aggregation, ModelFacts, Pacing, SessionConfig, VoiceFacts
from tts_service.speech.speech_outcome import SpeechGuard, SpeechOutcome
from tts_service.speech.watermark import Detection, Verdict
from tts_service.types import AudioFormat, EncodedPiece, Encoding, ModuleName, Priority, Segment

FRONT, ENGINE = front_words(), engine_words()
T3 = ModuleName("t3")
TEXTS = st.text(max_size=20)
SEGMENT = Segment(text="Hällo.", text_start=3, text_end=10)
CONFIG = SessionConfig(
    model="english",
    voice="v",
    language="en",
    audio_format=AudioFormat(encoding=Encoding.OGG_OPUS, sample_rate_hertz=48_000),
    seed=2**63 - 1,
    speaking_rate=1.5,
    text_aggregation=Aggregation.NONE,
    max_buffer_delay=0.0,
    pacing=Pacing.NONE,
    max_audio_ahead=4.0,
    settings={"temperature": 0.8, "top_k": 40},
    priority=Priority.BULK,
)
VOICE = VoiceFacts(
    id="v", display_name="Ä", languages=("en", "de"), models=("english",), description="", created_unix_seconds=1.5
)
MODEL = ModelFacts(
    id="english",
    description="",
    languages=("en",),
    sample_rate_hertz=24_000,
    default_voice="v",
    changes_speaking_rate=False,
    settings={"top_p": 1.0},
    missing_languages={"ja": ("pykakasi",)},
)
REPORT = ResidencyReport(
    unix_seconds=1.0,
    modules=(ModuleStatus(module=T3, home=Tier.DEVICE, tier=Tier.HOST, state=ModuleState.RESTING, rest=Tier.DISK),),
    budget_bytes=None,
    home_bytes=3,
    applied_version=1,
    accepted_version=2,
    pending_moves=(PendingMove(module=T3, tier=Tier.DISK, reason="leased"),),
    process_bytes=1,
    released_bytes=1,
    epoch=1,
    holder_id="h",
    restore_waits=1,
    restore_wait_seconds=0.5,
    device=DeviceUsage(reserved_bytes=1, allocated_bytes=2),
)
ORDERS = (
    RenderSegment(utterance_id="u", config=CONFIG, segment=SEGMENT, index=1),
    FinishAudio(utterance_id="u", config=CONFIG, empty=True),
    DiscardAudio(utterance_id="u"),
)
PIECE = EncodedPiece(data=b"\x00\xff", sample_count=1)
EVENTS = (
    RenderStarted(utterance_id="u"),
    RestoreAwaited(utterance_id="u", module=T3, expected_seconds=None),
    AudioMade(utterance_id="u", piece=PIECE),
    SegmentSpoken(utterance_id="u", segment=SEGMENT, sample_start=0, sample_end=5),
    NextWelcome(utterance_id="u"),
    SegmentMade(
        utterance_id="u",
        segment=SEGMENT,
        sample_start=0,
        sample_end=5,
        compute_seconds=0.5,
        outcome=SpeechOutcome(speech_tokens=3, guard=SpeechGuard.LOOP),
    ),
    AudioFinished(utterance_id="u", piece=PIECE, compute_seconds=0.25),
)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_orders_arrive_as_they_were_given(order: object) -> None:
    """Every kind of order, with all that a configuration holds."""
    said = Ordered(session=7, order=order)  # type: ignore[arg-type]  # One of them.

    assert [said, said] == FRONT.read(FRONT.written([said, said]))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_arrive_as_they_were_told(event: object) -> None:
    """Every kind of event."""
    said = Rendered(session=7, event=event)  # type: ignore[arg-type]  # One of them.

    assert [said] == ENGINE.read(ENGINE.written([said]))


@pytest.mark.parametrize(
    "said",
    [
        Ready(models=(MODEL,), voices=(VOICE,), makes_voices=True, on_gpu=False),
        Reported(report=REPORT, broken=(T3,), late=LateCounts(waiting=2, taken=1)),
        VoicesThere(voices=()),
        Pulse(step_seconds=None),
        WatermarkLooked(call=1, found=Detection(verdict=Verdict.SILENT, score=None, seconds=2.0)),
    ],
    ids=lambda said: type(said).__name__,
)
def test_what_an_engine_tells_arrives_whole(said: object) -> None:
    """Models, voices, reports: mappings, tuples and what may be missing included."""
    assert [said] == ENGINE.read(ENGINE.written([said]))


@pytest.mark.parametrize("kind", [CallerError, ServiceError])
def test_errors_arrive_with_everything_that_a_client_is_told(kind: type[CallerError] | type[ServiceError]) -> None:
    """Whose fault it was, the reason, the fields, the facts and when to come back."""
    error = kind(
        Reason.DEVICE_MEMORY,
        "no memory",
        violations=(FieldViolation(field="f", description="d"),),
        metadata={"needed_bytes": "5"},
        retry_after_seconds=2,
    )
    (said,) = ENGINE.read(ENGINE.written([Rendered(session=1, event=RenderFailed(utterance_id="u", error=error))]))
    heard = said.event.error

    assert type(error) is type(heard)
    assert (error.reason, error.message, error.violations) == (heard.reason, heard.message, heard.violations)
    assert (error.metadata, error.retry_after_seconds) == (heard.metadata, heard.retry_after_seconds)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_are_values(data: bytes) -> None:
    """Nothing but a value comes out, and nothing but BadValueError is raised."""
    for words in (FRONT, ENGINE):
        try:
            read = words.read(data)
        except BadValueError:
            continue
        assert read == words.read(words.written(read))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 40) | st.floats() | TEXTS | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=8),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(JUNK, max_size=6), max_size=3))
def test_lists_that_are_no_values_are_refused(junk: list[object]) -> None:
    """Wrong kinds, counts and types of fields: refused, or a value that can be said again."""
    for words in (FRONT, ENGINE):
        try:
            read = words.read(msgpack.packb(junk))
        except BadValueError:
            continue
        for value in read:
            assert words.read(words.written([value]))


@pytest.mark.parametrize(
    "wrong", [b"\xc1", msgpack.packb({}), msgpack.packb([[99]]), msgpack.packb([[4, "x", 1]]), b""]
)
def test_what_is_no_message_is_refused(wrong: bytes) -> None:
    """No msgpack, no list, an unknown kind, a field of another type, nothing at all."""
    with pytest.raises(BadValueError):
        FRONT.read(wrong)


def test_a_part_of_a_message_is_no_message() -> None:
    """A segment travels in an order, never alone."""
    with pytest.raises(BadValueError):
        FRONT.read(FRONT.written([SEGMENT]))


def test_what_is_not_in_the_vocabulary_is_not_said() -> None:
    """A value of an unknown kind is a programmer's error."""
    with pytest.raises(TypeError, match="cannot travel"):
        ENGINE.written([Piece(call=1, data=b"")])
    with pytest.raises(TypeError, match="cannot travel"):
        Vocabulary((int,))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.binary(max_size=1_000))
def test_bytes_of_uploads_arrive_untouched(call: int, data: bytes) -> None:
    """Any bytes."""
    assert [Piece(call=call, data=data)] == FRONT.read(FRONT.written([Piece(call=call, data=data)]))


@settings(deadline=None, max_examples=40)
@given(TEXTS, st.none() | st.floats(0, 1e6))
def test_any_text_of_an_error_arrives(message: str, retry: float | None) -> None:
    """Also text that is no UTF-8."""
    failed = CallFailed(call=1, error=ServiceError(Reason.ENGINE_FAULT, message + "\udc80", retry_after_seconds=retry))
    (heard,) = ENGINE.read(ENGINE.written([failed]))

    assert (message + "\udc80", retry) == (heard.error.message, heard.error.retry_after_seconds)
