"""The figures that `tts-say` tells, and the words for what goes wrong."""

import pytest

from greenroom_client.command.arguments import Arguments, check_one_purpose
from greenroom_client.command.figures import Figures
from greenroom_client.command.problems import ExitCode, OutputError, TextError, UsageError, problem_of
from greenroom_client.config import SessionConfig
from greenroom_client.errors import (
    AtCapacityError,
    FieldViolation,
    GreenroomError,
    InvalidRequestError,
    NotFoundError,
    ServiceFaultError,
    SessionClosedError,
    UnavailableError,
    UnreachableError,
    UtteranceFailed,
    no_answer,
)
from greenroom_client.events import AudioChunk, Cancelled, FinishReason, UtteranceResult

CONFIG = SessionConfig(voice="alto", sample_rate_hertz=1_000, seed=7)


def result(*, samples: int, real_time_factor: float, reason: FinishReason = FinishReason.COMPLETE) -> UtteranceResult:
    """Return an utterance's figures."""
    return UtteranceResult(
        utterance_id="u",
        finish_reason=reason,
        samples=samples,
        first_audio_seconds=0.05,
        queue_wait_seconds=0.01,
        real_time_factor=real_time_factor,
        underruns=1,
        segments=(),
        config=CONFIG,
    )


def spoken() -> Figures:
    """Return the figures of two utterances: 1,000 and 3,000 samples."""
    figures = Figures(output="a.wav")
    figures.heard_text(10.0)
    figures.heard_text(10.5)
    for number, samples in enumerate((1_000, 3_000)):
        chunk = AudioChunk(
            utterance_id="u", sequence=0, sample_offset=0, sample_count=samples, data=bytes(2 * samples), last=True
        )
        figures.heard_audio(chunk, 10.25 + number)
        figures.heard_end(result(samples=samples, real_time_factor=0.1 + 0.4 * number), 12.0 + number)
    return figures


def test_figures_join_all_utterances() -> None:
    """Times count from the first text, compute time is weighed by length, underruns add up."""
    document = spoken().to_json()

    assert {
        "audio_seconds": 4.0,
        "audio_bytes": 8_000,
        "first_audio_seconds": 0.25,
        "elapsed_seconds": 3.0,
        "real_time_factor": pytest.approx(0.4),
        "underruns": 2,
        "utterances": 2,
        "service_first_audio_seconds": 0.05,
        "seed": 7,
        "interrupted": False,
    }.items() <= document.items()


def test_line_for_people_says_how_soon_how_fast_how_much() -> None:
    """One line with the figures that matter."""
    assert (
        "4.00 s of speech to a.wav | first audio after 250 ms | real-time factor 0.400 (2x real time)"
        == spoken().line()
    )


def test_line_says_when_there_was_nothing_to_say() -> None:
    """An emoji is spoken as a short silence, and that is said."""
    figures = Figures(output="a.wav")
    figures.heard_end(result(samples=0, real_time_factor=0.0, reason=FinishReason.EMPTY), 1.0)

    assert "the text held nothing to say" in figures.line()


def test_figures_of_nothing_are_empty_not_broken() -> None:
    """A run that failed before any audio has figures all the same."""
    figures = Figures(output="a.wav")
    figures.cancelled = Cancelled(utterance_id="u", text_spoken="So", text_unspoken=" long")

    document = figures.to_json()

    assert (None, None, 0.0, True, "So") == (
        document["first_audio_seconds"],
        document["real_time_factor"],
        document["audio_seconds"],
        document["interrupted"],
        document["text_spoken"],
    )


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (UsageError("both", hint="one"), ExitCode.USAGE, "both"),
        (TextError("empty"), ExitCode.USAGE, "empty"),
        (OutputError("full"), ExitCode.FAILED, "full"),
        (
            UnreachableError("refused", code="UNAVAILABLE"),
            ExitCode.UNREACHABLE,
            "the service at here cannot be reached",
        ),
        (no_answer("silence"), ExitCode.UNREACHABLE, "the service at here does not answer"),
        (UnavailableError("stopping", code="UNAVAILABLE", reason="DRAINING"), ExitCode.FAILED, "stopping"),
        (ServiceFaultError("broken", code="INTERNAL"), ExitCode.FAILED, "broken"),
        (UtteranceFailed("u", ServiceFaultError("inside", code="INTERNAL")), ExitCode.FAILED, "inside"),
        (SessionClosedError("over"), ExitCode.FAILED, "over"),
    ],
)
def test_each_error_has_its_exit_code_and_words(
    error: UsageError | TextError | OutputError | GreenroomError, exit_code: ExitCode, words: str
) -> None:
    """Scripts tell whose fault it was from the code, people from the words."""
    problem = problem_of(error, "here")

    assert exit_code == problem.exit_code
    assert words in problem.message


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (NotFoundError("no voice", code="NOT_FOUND", reason="VOICE_NOT_FOUND"), "--list-voices"),
        (AtCapacityError("full", code="RESOURCE_EXHAUSTED", retry_after_seconds=1.5), "again in 1.5 s"),
        (AtCapacityError("full", code="RESOURCE_EXHAUSTED"), "again later"),
        (UnreachableError("refused", code="UNAVAILABLE"), "GREENROOM_SERVER"),
    ],
)
def test_error_with_a_way_out_names_it(error: GreenroomError, hint: str) -> None:
    """What to do next stands beside what happened."""
    assert hint in problem_of(error, "here").hint


def test_fields_at_fault_are_named_once() -> None:
    """A field that the message does not name is added to it."""
    violations = (FieldViolation(field="seed", description="too large"), FieldViolation(field="rate", description="x"))
    error = InvalidRequestError("seed is bad", code="INVALID_ARGUMENT", violations=violations)

    assert "seed is bad; rate: x" == problem_of(error, "here").message


@pytest.mark.parametrize(
    "arguments",
    [
        Arguments(server="s", list_voices=True, info=True),
        Arguments(server="s", info=True, words=("hello",)),
        Arguments(server="s", detect="a.wav", output="b.wav"),
        Arguments(server="s", list_voices=True, play=True),
    ],
)
def test_command_has_one_purpose(arguments: Arguments) -> None:
    """Asking two things at once, or asking and speaking, is refused."""
    with pytest.raises(UsageError, match="exclude each other"):
        check_one_purpose(arguments)
