"""A listener who hears audio to its end."""

from collections.abc import AsyncIterable, Iterable

from greenroom_client.events import AudioChunk


async def hear(audio: AsyncIterable[AudioChunk], sequences: list[int] | None = None) -> int:
    """Read all of it and return its samples; note the chunks' numbers as they come."""
    samples = 0
    async for chunk in audio:
        samples += chunk.sample_count
        if sequences is not None:
            sequences.append(chunk.sequence)
    return samples


def listen(audio: Iterable[AudioChunk], sequences: list[int] | None = None) -> int:
    """Do the same with audio of the blocking API."""
    samples = 0
    for chunk in audio:
        samples += chunk.sample_count
        if sequences is not None:
            sequences.append(chunk.sequence)
    return samples
