"""What an operator types, and what it means."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memctl.format import exact_bytes, exact_duration, exact_percent, exact_value
from memctl.parse import (
    LARGEST_BYTES,
    LONGEST_SECONDS,
    nearest,
    parse_assignment,
    parse_assignments,
    parse_bytes,
    parse_duration,
    parse_mark,
    parse_percent,
    parse_rate,
    parse_switch,
    parse_value,
    suggestion,
)
from memctl.settings import BY_NAME, SETTINGS, Kind, Setting
from memctl.types import ByteMark, PercentMark, SettingValue

BYTE_CASES = {
    "0": 0,
    "0B": 0,
    "1B": 1,
    "2KB": 2_000,
    "2KiB": 2_048,
    "3MB": 3_000_000,
    "3 MiB": 3 * 2**20,
    "1.5GB": 1_500_000_000,
    "2GiB": 2**31,
    "2gib": 2**31,
    " 1.5 GiB ": 3 * 2**29,
    "1TB": 10**12,
    "1TiB": 2**40,
    "0.1KiB": 102,
}
DURATION_CASES = {
    "0": 0.0,
    "0s": 0.0,
    "500ms": 0.5,
    "2s": 2.0,
    "1.5s": 1.5,
    "10m": 600.0,
    "1h": 3_600.0,
    "1h30m": 5_400.0,
    "1h 30m 2s": 5_402.0,
    "30d": 2_592_000.0,
    "0.001ms": 0.000001,
}


@pytest.mark.parametrize(("text", "count"), BYTE_CASES.items())
def test_size_with_unit_is_bytes(text: str, count: int) -> None:
    """A number with a unit means so many bytes, whatever its case and spaces."""
    assert count == parse_bytes(text)


@pytest.mark.parametrize("text", ["", "2", "GiB", "-1GB", "2 GiBs", "2G", "1e3MB", "2,5GB", "0x2GB", "٢GB", "nanGB"])
def test_size_that_is_none_is_refused_with_an_example(text: str) -> None:
    """A number without a unit, a unit without a number and anything else is refused, with an example."""
    with pytest.raises(ValueError, match=r"is no size.*2GiB"):
        parse_bytes(text)


@pytest.mark.parametrize("text", [f"{LARGEST_BYTES + 1}B", "9000000TiB"])
def test_size_beyond_the_wire_is_refused(text: str) -> None:
    """What an int64 cannot hold never reaches the wire."""
    with pytest.raises(ValueError, match="more than any machine"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "seconds"), DURATION_CASES.items())
def test_length_of_time_with_units_is_seconds(text: str, seconds: float) -> None:
    """Numbers with units add up to so many seconds."""
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "2", "s", "-1s", "1x", "1s2", "x1s", "1.s", "infs", "1 h ago"])
def test_length_of_time_that_is_none_is_refused_with_an_example(text: str) -> None:
    """A number without a unit and anything else is refused, and the words show how to write it."""
    with pytest.raises(ValueError, match=r"is no length of time.*500ms"):
        parse_duration(text)


def test_length_of_time_beyond_ten_years_is_refused() -> None:
    """A Duration that the wire could not hold never reaches it."""
    with pytest.raises(ValueError, match="ten years"):
        parse_duration(f"{LONGEST_SECONDS + 1}s")


@pytest.mark.parametrize(("text", "percent"), [("15%", 15.0), ("0%", 0.0), ("12.5 %", 12.5), ("150%", 150.0)])
def test_share_is_percent(text: str, percent: float) -> None:
    """A number with a percent sign is a share; its bounds are the daemon's to check."""
    assert percent == parse_percent(text)


@pytest.mark.parametrize("text", ["%", "-1%", "15", "a%", "1 5%"])
def test_share_that_is_none_is_refused(text: str) -> None:
    """Anything else is no share."""
    with pytest.raises(ValueError, match="is no share"):
        parse_percent(text)


def test_mark_is_bytes_or_percent() -> None:
    """A mark is told apart by its percent sign."""
    assert [ByteMark(2**31), PercentMark(15.0)] == [parse_mark("2GiB"), parse_mark("15%")]


@pytest.mark.parametrize("text", ["lots", "15 percent"])
def test_mark_that_is_neither_is_told_both_ways(text: str) -> None:
    """The refusal of a mark shows bytes and percent."""
    with pytest.raises(ValueError, match=r"2GiB, or percent, as in 15%"):
        parse_mark(text)


@pytest.mark.parametrize("text", ["6GB", "6GB/s", " 6 GB/s "])
def test_rate_may_say_per_second(text: str) -> None:
    """Bytes a second are written with or without `/s`."""
    assert 6_000_000_000 == parse_rate(text)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("ON", True), ("yes", True), ("false", False), ("off", False), ("No", False)]
)
def test_switch_takes_the_usual_words(text: str, value: bool) -> None:  # noqa: FBT001  A case of a table.
    """True and false have three words each."""
    assert value is parse_switch(text)


@pytest.mark.parametrize("text", ["", "1", "maybe"])
def test_switch_that_is_neither_is_refused(text: str) -> None:
    """Nothing else switches anything."""
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_switch(text)


def test_assignments_become_values_by_name() -> None:
    """Each NAME=VALUE is read as its setting is written; hyphens do for underscores."""
    texts = ["low=2GiB", "high = 15%", "grace=2s", "dry-run=true", "worst_fill_bytes_per_second=6GB/s"]

    assert {
        "low": ByteMark(2**31),
        "high": PercentMark(15.0),
        "grace": 2.0,
        "dry_run": True,
        "worst_fill_bytes_per_second": 6_000_000_000,
    } == parse_assignments(texts)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("low", "is no assignment"),
        ("lo=2GiB", "Did you mean 'low'"),
        ("etag=x", "no setting 'etag'"),
        ("=2GiB", "no setting ''"),
        ("low=", "low: '' is no size"),
        ("grace=2GiB", "grace: '2GiB' is no length of time"),
        ("dry_run=2", "dry_run: '2' is neither"),
    ],
)
def test_assignment_that_means_nothing_says_which_and_why(text: str, words: str) -> None:
    """A refusal names the setting and what would do."""
    with pytest.raises(ValueError, match=words):
        parse_assignment(text)


def test_assignment_given_twice_is_refused() -> None:
    """Two values for one setting are not guessed at."""
    with pytest.raises(ValueError, match="low is given twice"):
        parse_assignments(["low=2GiB", "low=3GiB"])


def test_suggestion_names_the_nearest_and_all() -> None:
    """A near miss is recognised; what there is is always told."""
    assert "Did you mean 'voice'? Modules: voice, t3." == suggestion("vioce", ["voice", "t3"], "Modules")


def test_half_typed_name_is_told_with_the_one_that_begins_so() -> None:
    """A beginning that only one name has is taken for that name, though most of it is missing."""
    assert "Did you mean 'neighbour-first'?" == nearest("neigh", ["balanced", "neighbour-first"])
    assert "Modules: none." == suggestion("voice", [], "Modules")


@settings(deadline=None, max_examples=300)
@given(st.integers(0, LARGEST_BYTES))
def test_bytes_survive_format_and_parse(count: int) -> None:
    """What is printed exactly can be typed back."""
    assert count == parse_bytes(exact_bytes(count))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, LONGEST_SECONDS * 1_000_000))
def test_duration_survives_format_and_parse(microseconds: int) -> None:
    """Every length of time, to the microsecond, can be typed back."""
    seconds = microseconds / 1_000_000

    assert seconds == parse_duration(exact_duration(seconds))


@settings(deadline=None, max_examples=300)
@given(st.floats(0, 100))
def test_percent_survives_format_and_parse(percent: float) -> None:
    """Every share can be typed back, with every digit."""
    assert percent == parse_percent(exact_percent(percent))


def values_of(setting: Setting) -> st.SearchStrategy[SettingValue]:
    """Return any value that a setting can have."""
    match setting.kind:
        case Kind.MARK:
            return st.one_of(
                st.integers(0, 2**50).map(ByteMark), st.integers(0, 10_000).map(lambda n: PercentMark(n / 100))
            )
        case Kind.DURATION:
            return st.integers(0, 3_600_000_000).map(lambda n: n / 1_000_000)
        case Kind.RATE | Kind.SIZE:
            return st.integers(0, 2**50)
        case Kind.PERCENT:
            return st.floats(0, 100)
        case Kind.SWITCH:
            return st.booleans()


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_every_setting_survives_format_and_parse(data: st.DataObject) -> None:
    """What `get` prints, `set` takes, for every setting."""
    setting = data.draw(st.sampled_from(SETTINGS))
    value = data.draw(values_of(setting))

    assert value == parse_value(setting, exact_value(setting, value))


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=20))
def test_any_text_is_a_value_or_a_refusal(text: str) -> None:
    """Nothing that can be typed makes the parser fail in another way than by refusing."""
    answers = [value_or_refusal(setting, text) for setting in BY_NAME.values()]

    assert [] == [answer for answer in answers if answer in {None, ""}]


def value_or_refusal(setting: Setting, text: str) -> object:
    """Return what a text means for a setting, or the words of the refusal."""
    try:
        return parse_value(setting, text)
    except ValueError as error:
        return str(error)
