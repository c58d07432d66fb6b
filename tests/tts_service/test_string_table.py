"""Dictionaries in arrays."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.models.string_table import StringTable, string_table_arrays

VALUES = st.recursive(
    st.none() | st.integers(-1_000, 1_000) | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=40), st.lists(st.text(max_size=6), max_size=20))
def test_table_answers_as_the_dictionary_it_was_made_from(values: dict[str, object], others: list[str]) -> None:
    """Every key has its value, and no other string is a key."""
    table = StringTable(string_table_arrays(values))
    asked = [*values, *others]

    assert [values.get(key, "missing") for key in asked] == [table.get(key, "missing") for key in asked]
    assert [key in values for key in asked] == [key in table for key in asked]
    assert len(values) == len(table)


def test_table_finds_keys_whose_hashes_collide() -> None:
    """A thousand keys in two thousand slots share many; all are found."""
    values = {f"key {number}": number for number in range(1_000)}
    table = StringTable(string_table_arrays(values))

    assert list(values.values()) == [table.get(key) for key in values]


def test_table_of_nothing_knows_nothing() -> None:
    """An empty dictionary makes a table like any other."""
    table = StringTable(string_table_arrays({}))

    assert (None, False, "<StringTable 0 keys>") == (table.get(""), "" in table, repr(table))
