"""Interruptions of every kind: nothing is left behind on either side, and nothing else is disturbed."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable

import pytest

from greenroom_client import aio
from greenroom_client.errors import SessionClosedError, UtteranceInterrupted
from greenroom_client.options import ClientOptions
from tests.fakes.fake_speech_script import Script
from tests.fakes.fake_speech_service import FakeSpeech, serving
from tests.fakes.fake_speech_session import Ending
from tests.fakes.listener import hear

LONG = "A sentence of some length. " * 40
SLOW = Script(chunk_delay_seconds=0.005)


async def left(fake: FakeSpeech) -> None:
    """Wait until the service has no RPC in its hands; fail if it keeps one."""
    async with asyncio.timeout(5):
        await fake.wait_until_left()


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - Whatever it is, it sets no event.
            await asyncio.sleep(0.005)


async def endless() -> AsyncIterator[str]:
    """Yield one sentence, then nothing for ever."""
    yield "The first sentence. "
    await asyncio.Event().wait()


async def test_loop_over_a_whole_text_that_is_left_cancels_the_rpc() -> None:
    """A plain `break` is enough; nobody has to close anything."""
    async with serving(SLOW) as fake, aio.Client(fake.address) as client:
        async for _ in client.synthesize(LONG):
            break
        await left(fake)

        assert 1 == fake.service.rpcs_begun


async def test_whole_text_left_by_its_block_cancels_the_rpc() -> None:
    """The block form cleans up at its end, whoever still holds the object."""
    async with serving(SLOW) as fake, aio.Client(fake.address) as client:
        async with client.synthesize(LONG) as speech:
            await anext(aiter(speech))
        await left(fake)

        assert "CANCELLING" not in repr(speech)


@pytest.mark.parametrize("written", [True, False], ids=["all written", "still writing"])
async def test_loop_over_speech_that_is_left_cancels_its_utterance_only(written: bool) -> None:  # noqa: FBT001 - A case.
    """The session lives, whether or not all text was written, and the next utterance is spoken."""
    async with serving(SLOW) as fake, aio.Client(fake.address) as client, client.session() as session:
        async for _ in session.speak(LONG if written else endless(), utterance_id="left"):
            break
        samples = await hear(session.speak("Next."))

        assert 5 * 240 == samples
        assert Ending.CANCELLED is fake.session.ended["left"]


async def test_timeout_around_the_next_chunk_costs_nothing() -> None:
    """A consumer that gives up waiting may come back: the session and the audio are all there."""
    script = Script(first_audio_delay_seconds=0.2)
    async with serving(script) as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write_all("Hello.")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(utterance), 0.01)
        samples = await hear(utterance)

    assert 6 * 240 == samples


async def test_task_that_is_cancelled_while_it_waits_leaves_the_session_alone() -> None:
    """Cancelling whoever awaits the figures, a flush or audio does not touch the RPC."""
    async with serving(SLOW) as fake, aio.Client(fake.address) as client, client.session() as session:
        utterance = session.utterance()
        await utterance.write(LONG)
        ticket = await utterance.flush()
        waiting = [asyncio.create_task(done) for done in (utterance.done(), ticket.done())]
        await anext(utterance)
        for task in waiting:
            task.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        await utterance.cancel()
        samples = await hear(session.speak("Next."))

    assert all(isinstance(result, asyncio.CancelledError) for result in ended)
    assert 5 * 240 == samples


async def test_utterance_left_by_its_block_is_cancelled() -> None:
    """An unfinished utterance does not go on speaking to nobody."""
    async with serving(SLOW) as fake, aio.Client(fake.address) as client, client.session() as session:
        async with session.utterance() as utterance:
            await utterance.write(LONG)
            await anext(utterance)
        await session.update(seed=1)

        assert [] == list(fake.session.open)
        with pytest.raises(UtteranceInterrupted):
            await utterance.done()


async def test_session_left_in_mid_utterance_cancels_the_rpc_at_once() -> None:
    """Leaving the block does not wait for the speech to end."""
    async with serving(SLOW) as fake, aio.Client(fake.address) as client:
        async with client.session() as session:
            await session.utterance().write(LONG)
        await left(fake)

        with pytest.raises(SessionClosedError):
            session.utterance()


async def test_session_left_when_all_is_said_ends_in_good_order() -> None:
    """The service sees a half-close, not a cancelled call."""
    async with serving() as fake, aio.Client(fake.address) as client:
        async with client.session() as session:
            await hear(session.speak("All said."))
        await left(fake)

        assert fake.session.half_closed


async def test_program_that_is_cancelled_leaves_nothing_behind() -> None:
    """Cancelling the task around everything ends its RPCs and all tasks that the client made."""

    async def program(address: str) -> None:
        async with aio.Client(address) as client, client.session() as session:
            await asyncio.gather(hear(session.speak(endless())), hear(session.speak([LONG] * 50)))

    async with serving(SLOW) as fake:
        before = asyncio.all_tasks()
        task = asyncio.create_task(program(fake.address))
        await until(lambda: bool(fake.service.sessions) and fake.session.chunks_sent > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await left(fake)
        gc.collect()
        await asyncio.sleep(0)

        assert before >= {other for other in asyncio.all_tasks() if "greenroom_client" in repr(other.get_coro())}


async def test_opening_that_is_cancelled_cancels_the_rpc() -> None:
    """A session that is not wanted any more before it began is given up on both sides."""
    async with serving(Script(silent=frozenset({"session"}))) as fake, aio.Client(fake.address) as client:
        task = asyncio.create_task(client.open_session())
        await until(lambda: fake.service.rpcs_open > 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await left(fake)

        assert [] == fake.service.sessions


async def test_client_that_is_closed_closes_its_sessions() -> None:
    """Whoever still waits for something is told that the session was closed."""
    async with serving(Script(silent=frozenset({"text"}))) as fake:
        async with aio.Client(fake.address) as client:
            session = await client.open_session()
            waiting = asyncio.create_task(hear(session.speak("Never heard.")))
            await until(lambda: bool(fake.service.sessions) and bool(fake.session.open))
        with pytest.raises(SessionClosedError):
            await waiting
        await left(fake)

        assert "over" in repr(session)


async def test_speech_that_is_cancelled_does_not_wait_for_its_next_text() -> None:
    """A barge-in ends the loop although the language model still thinks; its source is closed."""
    closed = asyncio.Event()

    async def thinking() -> AsyncIterator[str]:
        try:
            async for text in endless():
                yield text
        finally:
            closed.set()

    async with serving() as fake, aio.Client(fake.address) as client, client.session() as session:
        speech = session.speak(thinking())
        hearing = asyncio.create_task(hear(speech))
        await until(lambda: bool(speech.utterance.segments))
        cancelled = await speech.utterance.cancel()
        async with asyncio.timeout(5):
            await hearing
            await closed.wait()

    assert "The first sentence." == cancelled.text_spoken


@pytest.mark.parametrize("after_chunks", [1, 2, 5, 11])
async def test_stale_audio_never_reaches_the_next_utterance(after_chunks: int) -> None:
    """However much is on its way when the cancel is sent, the next utterance hears only its own."""
    options = ClientOptions()
    async with serving() as fake, aio.Client(fake.address, options) as client, client.session() as session:
        for turn in range(5):
            utterance = session.utterance(f"turn-{turn}")
            await utterance.write(LONG)
            for _ in range(after_chunks):
                assert utterance.id == (await anext(utterance)).utterance_id
            cancelling = asyncio.create_task(utterance.cancel())
            async for chunk in session.speak("Next."):
                assert chunk.utterance_id != utterance.id
            assert not (await cancelling).already_done


async def test_session_closed_twice_and_from_two_sides_is_closed() -> None:
    """Closing again, or by two tasks at once, is no error."""
    async with serving() as fake, aio.Client(fake.address) as client:
        session = await client.open_session()
        await asyncio.gather(session.close(), session.close(), client.close())
        await session.close()
        await left(fake)

        assert "over" in repr(session)
