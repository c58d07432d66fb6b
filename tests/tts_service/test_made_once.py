"""What is made once: the same object again, each variant its own, and the oldest goes first."""

from tts_service.speech.made_once import MadeOnce


class Thing:
    """Something of which something is made."""

    def __repr__(self) -> str:
        return "<Thing>"


def test_thing_is_made_once() -> None:
    """Whoever asks again is given the same, and nothing is made."""
    made, thing = MadeOnce[Thing, list[str]](), Thing()
    first = made.of(thing, lambda: ["first"])
    second = made.of(thing, lambda: ["second"])

    assert ["first"] == first
    assert first is second


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    """Of three things where two have room, the one in use stays."""
    made, things = MadeOnce[Thing, str](most=2), [Thing(), Thing(), Thing()]
    for thing in (things[0], things[1], things[0], things[2]):
        made.of(thing, lambda: "first")
    found = [made.of(things[0], lambda: "again"), made.of(things[1], lambda: "again")]

    assert ["first", "again"] == found


def test_thing_made_anew_is_another_one() -> None:
    """A thing is known by its object: however like the one before it is, it has its own."""
    made = MadeOnce[tuple[str, ...], int]()
    found = [made.of((*name,), lambda number=number: number) for number, name in enumerate(["ab", "ab"])]  # type: ignore[misc]  # Bound at once.

    assert [0, 1] == found


def test_variants_of_a_thing_are_kept_apart() -> None:
    """One voice, two degrees of liveliness: each is made, and each is kept."""
    made, thing = MadeOnce[Thing, str](), Thing()
    found = [made.of(thing, lambda: "calm", variant=0.2), made.of(thing, lambda: "lively", variant=0.9)]
    again = [made.of(thing, lambda: "anew", variant=variant) for variant in (0.2, 0.9)]

    assert ["calm", "lively"] == found == again


def test_thing_is_held_as_long_as_what_was_made_of_it() -> None:
    """Another object can never have its place in memory, and be taken for it."""
    made = MadeOnce[Thing, int]()
    found = [made.of(Thing(), lambda number=number: number) for number in range(10)]  # type: ignore[misc]  # Bound at once.

    assert list(range(10)) == found
