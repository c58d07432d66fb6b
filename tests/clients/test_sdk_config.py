"""Configurations on the wire: what is set arrives, what is left out stays the service's choice."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.tts.v1 import tts_pb2
from greenroom_client.config import WIRE_PATHS, Encoding, Pacing, Priority, SessionConfig, TextAggregation
from greenroom_client.config_messages import config_message, session_config
from greenroom_client.requests import update_request

names = st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
lengths_seconds = st.none() | st.integers(0, 60_000).map(lambda milliseconds: milliseconds / 1000)
settings_values = st.none() | st.floats(allow_nan=False)
configs = st.builds(
    SessionConfig,
    model=names,
    voice=names,
    language=names,
    encoding=st.none() | st.sampled_from([encoding for encoding in Encoding if encoding is not Encoding.UNKNOWN]),
    sample_rate_hertz=st.none() | st.integers(1, 2**31 - 1),
    seed=st.none() | st.integers(0, 2**63 - 1),
    speaking_rate=settings_values,
    temperature=settings_values,
    top_p=settings_values,
    min_p=settings_values,
    top_k=st.none() | st.integers(0, 2**31 - 1),
    repetition_penalty=settings_values,
    cfg_weight=settings_values,
    exaggeration=settings_values,
    max_segment_tokens=st.none() | st.integers(0, 2**31 - 1),
    text_aggregation=st.none() | st.sampled_from([TextAggregation.SERVER, TextAggregation.NONE]),
    max_buffer_delay_seconds=lengths_seconds,
    pacing=st.none() | st.sampled_from([Pacing.REALTIME, Pacing.NONE]),
    max_audio_ahead_seconds=lengths_seconds,
    priority=st.none() | st.sampled_from([Priority.INTERACTIVE, Priority.BULK]),
)


@settings(max_examples=60, deadline=None)
@given(configs)
def test_config_comes_back_from_the_wire_as_it_was_sent(config: SessionConfig) -> None:
    """Every field survives the way there and back, and None stays None."""
    raw = config_message(config).SerializeToString()

    assert config == session_config(tts_pb2.SessionConfig.FromString(raw))


def test_encoding_that_is_newer_than_the_client_is_no_error() -> None:
    """An unknown number in an effective configuration is called unknown."""
    message = tts_pb2.SessionConfig.FromString(b"\x22\x02\x08\x63")

    assert Encoding.UNKNOWN is session_config(message).encoding


@pytest.mark.parametrize("field", [field.name for field in fields(SessionConfig)])
def test_update_names_the_field_that_changes(field: str) -> None:
    """The mask of an update holds a path that the wire's message really has, and nothing else."""
    request = update_request(SessionConfig(), [field])

    assert [WIRE_PATHS[field]] == list(request.update.update_mask.paths)
    assert request.update.update_mask.IsValidForDescriptor(tts_pb2.SessionConfig.DESCRIPTOR)


@pytest.mark.parametrize("encoding", ["mp3", Encoding.UNKNOWN])
def test_encoding_that_cannot_be_asked_for_is_refused_here(encoding: Encoding) -> None:
    """A name that is none, and the stand-in for codings of the future, never reach the wire."""
    with pytest.raises(ValueError, match="is none of s16le"):
        config_message(SessionConfig(encoding=encoding))


def test_encoding_may_be_given_by_its_name() -> None:
    """A plain string that names a coding is as good as the enum's member."""
    config = SessionConfig(encoding="wav")  # type: ignore[arg-type]  # What a caller without a type checker does.

    assert tts_pb2.AUDIO_ENCODING_WAV == config_message(config).audio_format.encoding


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_number_that_does_not_fit_the_wire_is_refused_here(value: int) -> None:
    """What no message can carry is an error of the caller's, at once."""
    with pytest.raises(ValueError, match="out of range"):
        config_message(SessionConfig(seed=value))
