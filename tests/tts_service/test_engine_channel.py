"""Frames and channels between two processes: batches, ends in the middle, damage, and a reader that does not read."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tts_service.engine_process import channel as channels
from tts_service.engine_process.channel import Channel
from tts_service.engine_process.frames import MOST_BYTES, BadFrameError, framed, next_frame
from tts_service.engine_process.messages import Piece, Prefetch, Pulse, engine_words, front_words

Pair = tuple[Channel, Channel]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Give both sides of a channel: the front end's, and the engine's."""
    ours, theirs = socket.socketpair()
    front = await Channel.over(ours, says=front_words(), hears=engine_words())
    engine = await Channel.over(theirs, says=engine_words(), hears=front_words())
    yield front, engine
    await front.close()
    await engine.close()


def reader_of(data: bytes) -> asyncio.StreamReader:
    """Return a stream of these bytes that then ends."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


async def test_what_is_said_in_one_turn_is_heard_as_one(pair: Pair) -> None:
    """However many messages, one write; what is said in the next turn is another."""
    front, engine = pair
    front.say(Prefetch(model="a"))
    front.say(Prefetch(model="b"))
    await asyncio.sleep(0)
    front.say(Prefetch(model="c"))

    assert [Prefetch(model="a"), Prefetch(model="b")] == await engine.heard()
    assert [Prefetch(model="c")] == await engine.heard()


async def test_much_that_is_said_at_once_is_heard_a_little_at_a_time(pair: Pair) -> None:
    """In its order, and whoever else has work in the event loop has a turn before each part."""
    front, engine = pair
    said = [Prefetch(model=str(each)) for each in range(3 * channels.FRAME_MESSAGES + 1)]
    for each in said:
        front.say(each)
    parts: list[tuple[int, list[Prefetch]]] = []
    turns = [0]

    async def turn() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    while sum(len(part) for _, part in parts) < len(said):
        parts.append((turns[0], list(await engine.heard() or ())))
    turning.cancel()

    assert said == [each for _, part in parts for each in part]
    assert [channels.FRAME_MESSAGES] * 3 + [1] == [len(part) for _, part in parts]
    assert len(parts) == len({began for began, _ in parts})


async def test_what_was_said_before_the_end_is_heard_before_it(pair: Pair) -> None:
    """Closing says the rest, and the other side hears it and then the end."""
    front, engine = pair
    engine.say(Pulse(step_seconds=1.0))
    await engine.close()

    assert [Pulse(step_seconds=1.0)] == await front.heard()
    assert await front.heard() is None


async def test_saying_to_who_has_gone_does_nothing(pair: Pair) -> None:
    """Whoever speaks need not know; who waits for room learns it."""
    front, engine = pair
    await engine.close()
    assert await front.heard() is None
    front.say(Prefetch(model="a"))
    await asyncio.sleep(0.01)
    await front.close()
    front.say(Prefetch(model="b"))
    await asyncio.sleep(0)

    assert front.ended


async def test_who_speaks_more_than_is_read_waits(pair: Pair) -> None:
    """Beyond the bound `drained` waits, until the other side reads."""
    front, engine = pair
    piece = Piece(call=1, data=bytes(1 << 20))
    for _ in range(channels.UNSENT_BYTES // len(piece.data) + 8):
        front.say(piece)
        await asyncio.sleep(0)
    waiting = asyncio.create_task(front.drained())
    await asyncio.sleep(0.05)
    waited = not waiting.done()
    heard = 0
    while not waiting.done():
        heard += len(await engine.heard() or ())

    assert waited
    assert heard > 0


async def test_hanging_up_is_an_end_for_who_listens(pair: Pair) -> None:
    """Whoever waits to hear something hears the end at once, whether or not the other side lives."""
    front, _ = pair
    waiting = asyncio.create_task(front.heard())
    await asyncio.sleep(0)
    front.hang_up()

    assert await waiting is None


async def test_frame_without_its_end_is_an_end() -> None:
    """A process that dies in the middle of a write has said nothing that counts."""
    whole = framed(b"some words")
    reader = reader_of(whole + whole[:-1])

    assert b"some words" == await next_frame(reader)
    assert await next_frame(reader) is None
    assert await next_frame(reader_of(whole[:5])) is None


async def test_damaged_frame_is_refused() -> None:
    """A sum that is wrong and a length beyond all bounds end the conversation."""
    data = bytearray(framed(b"some words"))
    data[-1] ^= 1
    with pytest.raises(BadFrameError, match="damaged"):
        await next_frame(reader_of(bytes(data)))
    with pytest.raises(BadFrameError, match="says that it has"):
        await next_frame(reader_of((MOST_BYTES + 1).to_bytes(4, "little") + bytes(4)))
