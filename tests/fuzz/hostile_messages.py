"""Messages that nobody sane sends, made from descriptors alone: whatever field or method is added is tried, too.

A message is made with extreme values, then turned into bytes, and the bytes may be damaged. Text that is not UTF-8
cannot be set, so a marker of the same length is set and replaced in the bytes.
"""

from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.fuzz.likely_messages import likely_calls

MARKER: Final = "\x01\x02\x03\x02\x01"
BROKEN: Final = b"\xff\xfe\xc0\x80\xff"
DEPTH: Final = 6
MESSAGES: Final = 6
"""In a stream."""

FLOATS: Final = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0, 1e308, 5e-324, 0.5, 1e-9)
WORDS: Final = (
    "",
    "default",
    "speech",
    "u1",
    "u2",
    "t3",
    "hibari",
    "en",
    "v1:",
    "../../etc/passwd",
    "\0",
    "café 🎭",
    MARKER,
)
LONG: Final = (255, 4_097, 66_000)

F: Final = FieldDescriptor


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.sampled_from((least, most, 0, 1, most // 2)) | st.integers(least, most)


_TEXT: Final = st.sampled_from(WORDS) | st.text(max_size=30) | st.builds(lambda size: "a" * size, st.sampled_from(LONG))
_BYTES: Final = (
    st.binary(max_size=64) | st.builds(bytes, st.sampled_from(LONG)) | st.just(b"RIFF\xff\xff\xff\xffWAVEfmt ")
)
_SCALARS: Final[dict[int, st.SearchStrategy[Any]]] = {
    F.CPPTYPE_INT32: _integers(32, signed=True),
    F.CPPTYPE_INT64: _integers(64, signed=True),
    F.CPPTYPE_UINT32: _integers(32, signed=False),
    F.CPPTYPE_UINT64: _integers(64, signed=False),
    F.CPPTYPE_FLOAT: st.sampled_from(FLOATS[:6]) | st.floats(width=32),
    F.CPPTYPE_DOUBLE: st.sampled_from(FLOATS) | st.floats(),
    F.CPPTYPE_BOOL: st.booleans(),
    F.CPPTYPE_ENUM: st.sampled_from((0, 1, 2, 3, -1, 99, 2**31 - 1, -(2**31))),
}


@st.composite
def hostile_message(draw: st.DrawFn, descriptor: Descriptor, depth: int = DEPTH) -> Message:
    """Return a message with some of its fields set to anything at all."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        # Of a oneof the last that is set stands; each has a fair chance.
        if draw(st.booleans()):
            _set(draw, message, field, depth)
    return message


def _set(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _set_map(draw, message, field, depth)
    elif field.label == F.LABEL_REPEATED:
        times = draw(st.sampled_from((1, 2, 3, 40)))
        one = draw(_value(field, depth))
        getattr(message, field.name).extend([one] * times)
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        if depth:
            inner.CopyFrom(draw(hostile_message(field.message_type, depth - 1)))
    else:
        setattr(message, field.name, draw(_value(field, depth)))


def _set_map(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    for _ in range(draw(st.sampled_from((1, 3)))):
        at, one = draw(_value(key, depth)), draw(_value(value, depth))
        if value.message_type is None:
            getattr(message, field.name)[at] = one
        else:
            getattr(message, field.name)[at].CopyFrom(one)


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return (
            hostile_message(field.message_type, depth - 1) if depth else st.builds(GetMessageClass(field.message_type))
        )
    if field.cpp_type == F.CPPTYPE_STRING:
        return _BYTES if field.type == F.TYPE_BYTES else _TEXT
    return _SCALARS[field.cpp_type]


@st.composite
def hostile_bytes(draw: st.DrawFn, descriptor: Descriptor) -> bytes:
    """Return a message's bytes, damaged or not, or bytes that never were one."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = draw(hostile_message(descriptor)).SerializePartialToString().replace(MARKER.encode(), BROKEN)
    return _damaged(draw, data) if data and draw(st.integers(0, 2)) == 0 else data


def _damaged(draw: st.DrawFn, data: bytes) -> bytes:
    place = draw(st.integers(0, len(data) - 1))
    match draw(st.sampled_from(("flip", "cut", "insert", "twice", "nest"))):
        case "flip":
            return data[:place] + bytes([data[place] ^ (1 << draw(st.integers(0, 7)))]) + data[place + 1 :]
        case "cut":
            return data[:place]
        case "insert":
            return data[:place] + draw(st.binary(min_size=1, max_size=8)) + data[place:]
        case "twice":
            return data + data[place:]
        case _:
            # A field of a number and a length that nobody knows.
            return b"\xfa\xff\xff\xff\x0f" * 3 + data


def hostile_requests(method: MethodDescriptor) -> st.SearchStrategy[list[bytes]]:
    """Return what is sent in one call of a method: one message, or a stream of them in any order.

    Most streams begin as they should, because behind a wrong beginning nothing is looked at.
    """
    anything = hostile_bytes(method.input_type)
    likely = likely_calls().get(method.full_name)
    spoilt = [] if likely is None else [_spoilt(likely)]
    if not method.client_streaming:
        return st.one_of(anything.map(lambda data: [data]), *spoilt, *spoilt)
    streams = st.lists(anything, max_size=MESSAGES)
    return st.one_of(*spoilt, *spoilt, streams) | st.builds(
        lambda rest: [_beginning(method.input_type), *rest], streams
    )


@st.composite
def _spoilt(draw: st.DrawFn, calls: list[list[Message]]) -> list[bytes]:
    """Return a call in which one field of one message is hostile, or messages out of order, or nothing is."""
    messages = [_copy(each) for each in draw(st.sampled_from(calls))]
    match draw(st.sampled_from(("field", "field", "field", "order", "twice", "as it is"))):
        case "field":
            _spoil(draw, draw(st.sampled_from(messages)))
        case "order":
            messages = list(draw(st.permutations(messages)))
        case "twice":
            messages += [_copy(each) for each in messages]
        case _:
            pass
    return [each.SerializePartialToString().replace(MARKER.encode(), BROKEN) for each in messages]


def _spoil(draw: st.DrawFn, message: Message) -> None:
    """Make one field hostile, of the message itself or of one that is in it."""
    inside: list[Message] = [
        value for field, value in message.ListFields() if field.message_type and field.label != F.LABEL_REPEATED
    ]
    goes_in: bool = draw(st.booleans())
    if inside and goes_in:
        _spoil(draw, draw(st.sampled_from(inside)))
    elif message.DESCRIPTOR.fields:
        _set(draw, message, draw(st.sampled_from(list(message.DESCRIPTOR.fields))), DEPTH)


def _copy(message: Message) -> Message:
    fresh = type(message)()
    fresh.CopyFrom(message)
    return fresh


def _beginning(descriptor: Descriptor) -> bytes:
    """Return the message in which only the first field of its oneof is there, and empty."""
    message = GetMessageClass(descriptor)()
    if descriptor.oneofs and descriptor.oneofs[0].fields[0].message_type is not None:
        getattr(message, descriptor.oneofs[0].fields[0].name).SetInParent()
    return message.SerializeToString()
