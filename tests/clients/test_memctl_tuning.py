"""What keys do in `memctl top`: the state machine, the steps of numbers, and the bytes of a terminal."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memctl.keyboard import keys_in
from memctl.policy_wire import status_of
from memctl.settings import BY_NAME, SETTINGS
from memctl.tuning import (
    Key,
    SetFreeze,
    SetNumber,
    SetOverride,
    Tuning,
    UndoChange,
    Wanted,
    done,
    press,
    stepped,
)
from memctl.types import ByteMark, Freeze, OverrideKind, PercentMark, SettingValue
from tests.fakes.fake_governed_service import FakeService
from tests.fakes.fake_policy_service import HOLDER, FakeDaemon

STATUS = status_of(FakeDaemon(FakeService(governor=HOLDER)).status())
FROZEN = replace(STATUS, freeze=Freeze(start_unix_seconds=1.0, expire_unix_seconds=None, set_by="ann"))


def typed(*keys: Key, tuning: Tuning | None = None) -> tuple[Tuning, list[Wanted]]:
    """Press keys, and return the state and what was asked."""
    state, asked = tuning or Tuning(), []
    for key in keys:
        state, wanted = press(state, key, STATUS)
        asked += [] if wanted is None else [wanted]
    return state, asked


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param(
            [Key.DOWN, Key.MORE, Key.ENTER], SetNumber(name="critical", value=PercentMark(6.0), etag="e1"), id="more"
        ),
        pytest.param(
            [Key.DOWN, Key.DOWN, Key.LESS, Key.LESS, Key.ENTER],
            SetNumber(name="low", value=PercentMark(8.0), etag="e1"),
            id="less twice",
        ),
        pytest.param(
            [Key.UP, Key.MORE, Key.ENTER], SetNumber(name="dry_run", value=True, etag="e1"), id="the last one"
        ),
        pytest.param([Key.DRY_RUN, Key.ENTER], SetNumber(name="dry_run", value=True, etag="e1"), id="dry run"),
        pytest.param(
            [Key.NEXT, Key.EVICT, Key.ENTER],
            SetOverride(service="default", module="voice", kind=OverrideKind.EVICT, time_to_live_seconds=600.0),
            id="evict",
        ),
        pytest.param(
            [Key.BEFORE, Key.RELEASE, Key.ENTER],
            SetOverride(service="default", module="watermark.detector", kind=None),
            id="release the last one",
        ),
        pytest.param([Key.FREEZE, Key.ENTER], SetFreeze(time_to_live_seconds=600.0), id="freeze"),
        pytest.param([Key.UNDO, Key.ENTER], UndoChange(etag="e1"), id="undo"),
    ],
)
def test_keys_then_enter_ask_once(keys: list[Key], expected: Wanted) -> None:
    """What was prepared is asked for with Enter, and a second Enter asks for nothing."""
    state, asked = typed(*keys, Key.ENTER)

    assert ([expected], None) == (asked, state.ask)


@given(keys=st.lists(st.sampled_from([key for key in Key if key is not Key.ENTER]), max_size=20))
def test_nothing_is_asked_before_enter(keys: list[Key]) -> None:
    """No other key ever reaches the daemon."""
    assert [] == typed(*keys)[1]


def test_escape_drops_what_was_prepared() -> None:
    """After Esc there is nothing that Enter could do."""
    assert [] == typed(Key.DRY_RUN, Key.ESCAPE, Key.ENTER)[1]


def test_choosing_another_number_drops_what_was_prepared() -> None:
    """A value that is not seen any more is not set."""
    assert [] == typed(Key.DOWN, Key.MORE, Key.DOWN, Key.ENTER)[1]


@pytest.mark.parametrize(("key", "words"), [(Key.MORE, "choose a number first"), (Key.PIN, "choose a module first")])
def test_key_without_a_choice_says_what_to_do(key: Key, words: str) -> None:
    """Nothing is guessed."""
    state, asked = typed(key, Key.ENTER)

    assert (True, []) == (state.words.startswith(words), asked)


def test_freeze_key_thaws_what_is_frozen() -> None:
    """The same key takes it back."""
    state, _ = press(Tuning(), Key.FREEZE, FROZEN)

    assert SetFreeze(time_to_live_seconds=None) == state.ask


def test_change_is_said_before_it_is_made() -> None:
    """The words are the number as it is, and as it would be."""
    assert "low 10% -> 11%" == typed(Key.DOWN, Key.DOWN, Key.MORE)[0].words


def test_answer_does_not_hide_what_was_prepared_meanwhile() -> None:
    """An answer that comes late leaves the newer words."""
    prepared = typed(Key.DRY_RUN)[0]

    assert (prepared, "set") == (done(prepared, "late"), done(Tuning(), "set").words)


def test_help_and_leave_are_keys() -> None:
    """The help goes with the next key, and q leaves."""
    assert [True, False, True] == [
        typed(Key.HELP)[0].helps,
        typed(Key.HELP, Key.DOWN)[0].helps,
        typed(Key.LEAVE)[0].leaves,
    ]


@pytest.mark.parametrize(
    ("name", "value", "more", "expected"),
    [
        pytest.param("low", ByteMark(1_500_000_000), True, ByteMark(1_600_000_000), id="bytes up"),
        pytest.param("low", ByteMark(1_500_000_000), False, ByteMark(1_400_000_000), id="bytes down"),
        pytest.param("low", ByteMark(0), True, ByteMark(100_000_000), id="from nothing"),
        pytest.param("low", ByteMark(0), False, ByteMark(0), id="below nothing"),
        pytest.param("low", PercentMark(99.5), True, PercentMark(100.0), id="all of it"),
        pytest.param("low", PercentMark(0.5), False, PercentMark(0.0), id="none of it"),
        pytest.param("grace", 1.0, True, 1.2, id="a time up"),
        pytest.param("grace", 1.0, False, 0.8, id="a time down"),
        pytest.param("grace", 0.0, True, 0.1, id="a time from nothing"),
        pytest.param("worst_fill_bytes_per_second", 6_000_000_000, True, 6_600_000_000, id="a rate"),
        pytest.param("dry_run", False, False, True, id="a switch"),
    ],
)
def test_step_is_a_round_number(name: str, value: SettingValue, *, more: bool, expected: SettingValue) -> None:
    """Sizes go by a tenth, times by a quarter, shares by a percent, switches flip."""
    assert expected == stepped(BY_NAME[name], value, more=more)


@given(count=st.integers(1, 10**12), more=st.booleans())
def test_step_of_a_size_is_never_none(count: int, *, more: bool) -> None:
    """Each step changes something, in its direction."""
    after = stepped(BY_NAME["low"], ByteMark(count), more=more)
    assert isinstance(after, ByteMark)

    assert (after.bytes > count) if more else (after.bytes < count)


def test_every_number_can_be_stepped() -> None:
    """No kind of number is forgotten."""
    values = {"critical": PercentMark(5.0), "grace": 1.0}

    assert [None] * len(SETTINGS) == [stepped(setting, None, more=True) for setting in SETTINGS]
    assert all(stepped(BY_NAME[name], value, more=True) != value for name, value in values.items())


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x1b[A", [Key.UP]),
        (b"\x1bOB\x1b[C", [Key.DOWN, Key.MORE]),
        (b"\x1b", [Key.ESCAPE]),
        (b"jj-\r", [Key.DOWN, Key.DOWN, Key.LESS, Key.ENTER]),
        (b"\t\x1b[Zq", [Key.NEXT, Key.BEFORE, Key.LEAVE]),
        (b"xyz\xff", []),
        (b"", []),
    ],
)
def test_terminal_bytes_are_keys(sent: bytes, expected: list[Key]) -> None:
    """Arrows in both dialects, letters, and nothing from what means nothing."""
    assert expected == keys_in(sent)
