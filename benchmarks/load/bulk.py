"""Offline work: whole texts, unpaced, so many at once, as fast as they are made."""

import asyncio
import random
import time
from typing import Any

import grpc

from benchmarks.load.lines import Lines, reason_of
from benchmarks.load.manner import Manner
from benchmarks.load.run_end import RunEnd
from benchmarks.load.sentences import Texts
from benchmarks.load.tally import Tally
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom_client.statuses import from_rpc_error


class Bulk:
    """Some readers who ask for one text after another."""

    def __init__(self, lines: Lines, manner: Manner, *, tally: Tally, run_end: RunEnd) -> None:
        self.audio_seconds = 0.0
        self.seconds = 0.0
        self._lines = lines
        self._manner = manner
        self._tally = tally
        self._run_end = run_end

    def __repr__(self) -> str:
        return f"<Bulk {self.audio_seconds:.1f} s of audio in {self.seconds:.1f} s>"

    @property
    def times_real_time(self) -> float:
        """Seconds of audio for each second."""
        return self.audio_seconds / self.seconds if self.seconds > 0.0 else 0.0

    async def read(self, readers: int) -> None:
        """Read until the run is over; what is under way then counts as far as it came."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(readers):
                group.create_task(self._reader(number))
        self.seconds = time.monotonic() - began

    async def _reader(self, number: int) -> None:
        source = random.Random(self._manner.session_seed(number))  # noqa: S311  # Texts, no secrets.
        texts = Texts(source, words=self._manner.words)
        while not self._run_end.is_over:
            config = self._manner.first_message(number, is_paced=False).config
            config.priority = pb.PRIORITY_BULK
            asked = pb.SynthesizeRequest(text=texts.utterance(), config=config)
            try:
                await self._text(self._lines.stub(number).Synthesize(asked))
            except grpc.RpcError as failure:
                error = from_rpc_error(failure)
                self._tally.failures[f"bulk {reason_of(error)}"] += 1
                await self._run_end.sleep(error.retry_after_seconds or 0.5)

    async def _text(self, call: Any) -> None:
        samples, rate_hertz = 0, 24_000
        while not self._run_end.is_over:
            response = await call.read()
            if response is grpc.aio.EOF:
                self._tally.counts["bulk texts"] += 1
                return
            match response.WhichOneof("response"):
                case "started":
                    rate_hertz = response.started.effective_config.audio_format.sample_rate_hertz or rate_hertz
                case "audio":
                    if response.audio.sample_offset != samples:
                        self._tally.finding(f"bulk: audio at {response.audio.sample_offset}, where {samples} was due")
                    samples = response.audio.sample_offset + response.audio.sample_count
                    self.audio_seconds += response.audio.sample_count / rate_hertz
        call.cancel()
