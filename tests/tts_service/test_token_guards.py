"""Guards against speech that runs on: the budget of a text, and loops."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.speech.token_guards import LONGEST_PERIOD, LOOP_TOKENS, LoopWatch, token_budget

TOKENS_A_SECOND = 25


def tokens_until_loop(tokens: list[int]) -> int | None:
    """Return how many tokens were taken when the watch noticed a loop."""
    watch = LoopWatch()
    return next((count for count, token in enumerate(tokens, start=1) if watch.looping(token)), None)


@pytest.mark.parametrize(
    ("text", "usual_seconds"),
    [
        ("Yes.", 0.5),
        ("The quick brown fox jumps over the lazy dog.", 2.8),
        ("1234567890", 4.5),
        ("$3.50 + 20% = ?", 4.0),
        ("今天天气很好。我们去公园吧。", 3.2),
        ("こんにちは、元気ですか。", 2.5),
        ("안녕하세요, 만나서 반갑습니다.", 2.8),
        ("Donaudampfschifffahrtsgesellschaftskapitän", 3.0),
    ],
)
def test_budget_leaves_room_for_slow_speech_and_ends_babble(text: str, usual_seconds: float) -> None:
    """A text may take twice its usual time, and not ten times and more beyond the first seconds."""
    seconds = token_budget(text) / TOKENS_A_SECOND

    assert 2 * usual_seconds <= seconds <= 5 * usual_seconds + 3


@settings(deadline=None)
@given(text=st.text(max_size=300), more=st.text(min_size=1, max_size=20))
def test_budget_grows_with_the_text(text: str, more: str) -> None:
    """More text never gets less time."""
    assert token_budget(text) < token_budget(text + more)


@pytest.mark.parametrize("period", [1, 2, 7, LONGEST_PERIOD])
def test_loop_is_noticed_after_its_turns(period: int) -> None:
    """Whatever the period up to a second, a loop ends after two seconds or three turns beyond the first."""
    tokens = [1000, 2000, 3000, *(token for _ in range(200) for token in range(period))]

    assert 3 + period + max(LOOP_TOKENS, 3 * period) == tokens_until_loop(tokens)


def test_pause_is_no_loop() -> None:
    """A second and a half of the same silence between words is speech."""
    assert tokens_until_loop([1, 2, *[4299] * 38, 3, 4, *[4299] * 38, 5]) is None


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 6560), min_size=1, max_size=300, unique=True))
def test_tokens_that_never_repeat_are_no_loop(tokens: list[int]) -> None:
    """The watch is silent on what does not repeat."""
    assert tokens_until_loop(tokens) is None


def test_interrupted_loop_begins_anew() -> None:
    """One other token on the way makes the count start again."""
    assert tokens_until_loop([7] * 50 + [8] + [7] * 50) is None
    assert tokens_until_loop([7] * 51) == 51
