"""Progress of the start: told by bytes, asked in words, and the way by which a long step hears that it is to end."""

import io
from collections.abc import Iterator

import pytest
import structlog
from rich.console import Console

from tests.fakes.manual_clock import ManualClock
from tts_service.load_progress import LoadProgress, LoggedProgress, StartEndedError, shown_progress
from tts_service.types import ModuleName

BIG, SMALL = ModuleName("big"), ModuleName("small")


def progress_shown_in(shown: list[tuple[str, int, int]]) -> LoadProgress:
    """Return progress that is written down."""
    progress = LoadProgress()
    progress.show_with(lambda stage, done, total: shown.append((stage, done, total)))
    return progress


def test_stages_and_modules_are_told_by_their_bytes() -> None:
    """Modules add up, whatever the order of their words."""
    shown: list[tuple[str, int, int]] = []
    progress = progress_shown_in(shown)
    progress.stage("fetching weights")(5, 10)
    progress.modules({BIG: 300, SMALL: 100})
    progress.module(BIG, 150)
    progress.module(SMALL, 100)
    progress.module(BIG, 300)

    assert [("fetching weights", 0, 0), ("fetching weights", 5, 10)] == shown[:2]
    assert [("loading weights", done, 400) for done in (0, 150, 250, 400)] == shown[3:]


@pytest.mark.parametrize(
    ("done", "total", "words"), [(1, 4, "checking weights (25 %); speech"), (0, 0, "checking weights; speech")]
)
def test_text_says_what_is_awaited_and_how_far_it_is(done: int, total: int, words: str) -> None:
    """Callers hear a share where one is known."""
    progress = LoadProgress()
    progress.stage("checking weights")(done, total)

    assert f"the service is {words} comes when that is done" == progress.text()


def test_whoever_tells_how_far_it_is_hears_that_the_start_is_to_end() -> None:
    """Loading and making ask at every piece."""
    progress = LoadProgress()
    tell = progress.stage("making weights")
    progress.modules({BIG: 2})
    progress.end()
    for told in (lambda: tell(1, 2), lambda: progress.module(BIG, 1), lambda: progress.stage("next")):
        with pytest.raises(StartEndedError):
            told()


def test_modules_that_come_back_after_the_start_tell_nobody() -> None:
    """A restore is no start: it is not shown, and no end of the start breaks it off."""
    shown: list[tuple[str, int, int]] = []
    progress = progress_shown_in(shown)
    progress.modules({BIG: 2})
    progress.over()
    progress.end()
    before = len(shown)
    progress.module(BIG, 1)

    assert before == len(shown)


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    """Give the lines of the log."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def test_log_has_each_stage_and_then_a_line_once_in_a_while(logged: list[structlog.typing.EventDict]) -> None:
    """A thousand words of progress in a second are one line."""
    clock = ManualClock()
    show = LoggedProgress(clock)
    show("checking weights", 0, 0)
    for number in range(1000):
        show("loading weights", number, 1000)
    clock.advance(2.0)
    show("loading weights", 1000, 1000)

    assert [("checking weights", None), ("loading weights", 0), ("loading weights", 100)] == [
        (line["stage"], line.get("percent")) for line in logged
    ]


def test_bar_is_drawn_on_a_terminal_and_taken_away_again() -> None:
    """The stage stands beside the bar; what stays on the terminal is the cursor's place."""
    drawn = io.StringIO()
    with shown_progress(Console(file=drawn, force_terminal=True), clock=ManualClock()) as show:
        show("loading weights", 1, 2)
    said = drawn.getvalue()

    assert (True, True) == ("loading weights" in said, said.rstrip().endswith("\x1b[2K"))
