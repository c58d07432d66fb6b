"""Writes values as msgpack and reads them again, strictly by their types: what does not fit is refused.

A value is a frozen dataclass of numbers, text, bytes, enums, collections and other such values. It is written as a
list: its number in the vocabulary, then its fields in their order. Both processes are of one release, so that nothing
has to be read that another release has written. No pickle, because a frame that is not ours must run nothing.
"""

import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final, NewType, Union, get_args, get_origin, get_type_hints

import msgpack

from tts_service.errors import CallerError, FieldViolation, GreenroomError, Reason, ServiceError

_Form = Callable[[Any], Any]
"""Turns a value into what msgpack writes, or back."""

_PLAIN: Final = (bool, int, str, bytes)
_ERRORS: Final = (CallerError, ServiceError)
"""By their numbers: 1 for what is our fault."""


class BadValueError(Exception):
    """What was read is no value of the vocabulary."""


class Vocabulary:
    """The kinds of values that travel, `kinds`; those within them are found by their types."""

    def __init__(self, kinds: Sequence[type]) -> None:
        self._numbers: dict[type, int] = {}
        self._kinds: list[type] = []
        self._writers: dict[Any, _Form] = {}
        self._readers: list[tuple[tuple[str, _Form], ...]] = []
        self._field_writers: list[tuple[tuple[str, _Form], ...]] = []
        for kind in kinds:
            self._number(kind)
        self._top = frozenset(self._numbers[kind] for kind in kinds)

    def written(self, values: Sequence[Any]) -> bytes:
        """Return values as bytes. Raises TypeError for one that is of no kind."""
        written: bytes = msgpack.packb(
            [self._write_one(value) for value in values], use_bin_type=True, unicode_errors="surrogatepass"
        )
        return written

    def read(self, data: bytes) -> list[Any]:
        """Return the values in bytes. Raises BadValueError."""
        try:
            found = msgpack.unpackb(data, raw=False, unicode_errors="surrogatepass")
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise BadValueError(f"is no msgpack ({error})") from error
        if not isinstance(found, list):
            raise BadValueError("is no list of values")
        return [self._read_one(each, self._top) for each in found]

    # --- dataclasses --------------------------------------------------------------------------------------------

    def _number(self, kind: type) -> int:
        if kind in self._numbers:
            return self._numbers[kind]
        if not is_dataclass(kind):
            raise TypeError(f"{kind} cannot travel")
        number = self._numbers[kind] = len(self._kinds)
        self._kinds.append(kind)
        # Places first: a value may hold others of its own kind.
        self._readers.append(())
        self._field_writers.append(())
        hints = get_type_hints(kind)
        names = [each.name for each in fields(kind)]
        self._field_writers[number] = tuple((name, self._writer(hints[name])) for name in names)
        self._readers[number] = tuple((name, self._reader(hints[name])) for name in names)
        return number

    def _write_one(self, value: Any) -> list[Any]:
        number = self._numbers.get(type(value))
        if number is None:
            raise TypeError(f"{type(value)} cannot travel")
        return [number, *(write(getattr(value, name)) for name, write in self._field_writers[number])]

    def _read_one(self, found: Any, wanted: frozenset[int]) -> Any:
        if not isinstance(found, list) or not found or type(found[0]) is not int or found[0] not in wanted:
            raise BadValueError("is a value of another kind than belongs there")
        kind, readers = self._kinds[found[0]], self._readers[found[0]]
        if len(found) != len(readers) + 1:
            raise BadValueError(f"has {len(found) - 1} fields, {kind.__name__} has {len(readers)}")
        return kind(**{name: read(each) for (name, read), each in zip(readers, found[1:], strict=True)})

    # --- fields, by their types ---------------------------------------------------------------------------------

    def _writer(self, hint: Any) -> _Form:
        hint, args = _plainly(hint), get_args(_plainly(hint))
        if get_origin(hint) in {Union, types.UnionType}:
            rest = [each for each in args if each is not types.NoneType]
            write = self._write_one if _all_dataclasses(rest) else self._writer(rest[0])
            for each in rest:
                self._writer(each)
            return (lambda value: None if value is None else write(value)) if len(rest) < len(args) else write
        if get_origin(hint) in {tuple, frozenset}:
            item = self._writer(args[0])
            return lambda value: [item(each) for each in value]
        if get_origin(hint) in {dict, Mapping}:
            key, item = self._writer(args[0]), self._writer(args[1])
            return lambda value: [[key(name), item(each)] for name, each in value.items()]
        return self._leaf_writer(hint)

    def _leaf_writer(self, hint: Any) -> _Form:
        if hint is GreenroomError:
            return _write_error
        if isinstance(hint, type) and issubclass(hint, Enum):
            return lambda value: value.value
        if is_dataclass(hint):
            self._number(hint)  # type: ignore[arg-type]  # A class, not one of its values.
            return self._write_one
        assert hint in {*_PLAIN, float}, f"{hint} cannot travel"
        return lambda value: value

    def _reader(self, hint: Any) -> _Form:
        hint, args = _plainly(hint), get_args(_plainly(hint))
        if get_origin(hint) in {Union, types.UnionType}:
            return self._union_reader(args)
        if get_origin(hint) in {tuple, frozenset}:
            item, made = self._reader(args[0]), get_origin(hint)
            return lambda found: made(item(each) for each in _listed(found))
        if get_origin(hint) in {dict, Mapping}:
            key, item = self._reader(args[0]), self._reader(args[1])
            return lambda found: {key(pair[0]): item(pair[1]) for pair in _pairs(found)}
        return self._leaf_reader(hint)

    def _union_reader(self, args: tuple[Any, ...]) -> _Form:
        rest = [each for each in args if each is not types.NoneType]
        if _all_dataclasses(rest):
            wanted = frozenset(self._number(each) for each in rest)
            read: _Form = lambda found: self._read_one(found, wanted)  # noqa: E731  # One of two forms.
        elif len(rest) == 1:
            read = self._reader(rest[0])
        else:
            assert set(rest) == {int, float}, f"{rest} cannot travel"
            read = _read_number
        return (lambda found: None if found is None else read(found)) if len(rest) < len(args) else read

    def _leaf_reader(self, hint: Any) -> _Form:
        if hint is GreenroomError:
            return _read_error
        if isinstance(hint, type) and issubclass(hint, Enum):
            return lambda found: _member(hint, found)
        if is_dataclass(hint):
            wanted = frozenset({self._number(hint)})  # type: ignore[arg-type]  # As above.
            return lambda found: self._read_one(found, wanted)
        if hint is float:
            return lambda found: float(_read_number(found))
        return lambda found: _exactly(hint, found)

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self._kinds)} kinds>"


def _plainly(hint: Any) -> Any:
    """Return what a name for a type stands for."""
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    return hint


def _all_dataclasses(kinds: Sequence[Any]) -> bool:
    return all(is_dataclass(each) for each in kinds)


def _exactly(kind: type, found: Any) -> Any:
    if type(found) is not kind:
        raise BadValueError(f"has {type(found).__name__} where {kind.__name__} belongs")
    return found


def _read_number(found: Any) -> int | float:
    if type(found) not in {int, float} or math.isnan(found):
        raise BadValueError(f"has {found!r} where a number belongs")
    number: int | float = found
    return number


def _listed(found: Any) -> list[Any]:
    listed: list[Any] = _exactly(list, found)
    return listed


def _pairs(found: Any) -> list[Any]:
    pairs = _listed(found)
    if any(type(each) is not list or len(each) != 2 for each in pairs):  # noqa: PLR2004  # A key and a value.
        raise BadValueError("has no pairs where a mapping belongs")
    return pairs


def _member(kind: type[Enum], found: Any) -> Enum:
    try:
        return kind(found)
    except ValueError as error:
        raise BadValueError(str(error)) from error


def _write_error(error: GreenroomError) -> list[Any]:
    violations = [[each.field, each.description] for each in error.violations]
    number = int(isinstance(error, ServiceError))
    facts = [[name, value] for name, value in error.metadata.items()]
    return [number, error.reason.value, error.message, violations, facts, error.retry_after_seconds]


def _read_error(found: Any) -> GreenroomError:
    try:
        number, reason, message, violations, facts, retry = _listed(found)
        return _ERRORS[_exactly(int, number)](
            Reason(reason),
            _exactly(str, message),
            violations=tuple(FieldViolation(field=each[0], description=each[1]) for each in _pairs(violations)),
            metadata={str(each[0]): str(each[1]) for each in _pairs(facts)},
            retry_after_seconds=None if retry is None else float(_read_number(retry)),
        )
    except (ValueError, LookupError) as error:
        raise BadValueError(f"has no error where one belongs ({error})") from error
