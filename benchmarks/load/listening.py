"""What one session hears: each message noted on the utterance that it belongs to. Does no I/O."""

from typing import Any

from benchmarks.load.heard import Chunk, Heard
from benchmarks.load.recordings import Recording
from benchmarks.load.tally import Tally
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom_client.statuses import from_status


class Listening:
    """The listening side of a session. One utterance is under way at a time."""

    def __init__(self, session: int, tally: Tally) -> None:
        self.started: Any = None
        self.was_queued = False
        self.heard: Heard | None = None
        self.recording: Recording | None = None
        self._session = session
        self._tally = tally

    def __repr__(self) -> str:
        return f"<Listening {self._session} | {self.heard!r}>"

    def begin(self, heard: Heard, recording: Recording | None) -> None:
        """Expect an utterance from now on; what comes of earlier ones is a fault."""
        self.heard, self.recording = heard, recording

    def take(self, response: Any, now: float) -> bool:
        """Take a message in; return whether whoever speaks here may have something to do now."""
        kind = response.WhichOneof("response")
        match kind:
            case "audio":
                return self._audio(response.audio, now)
            case "session_started":
                self.started = response.session_started
            case "notice":
                self.was_queued = self.was_queued or response.notice.HasField("queued")
                self._tally.told[f"notice {response.notice.WhichOneof('notice')}"] += 1
            case "progress":
                self._tally.told[pb.WaitingFor.Name(response.progress.waiting_for)] += 1
            case "flushed" | "utterance_started" | None:
                return False
            case _:
                self._ended(kind, getattr(response, kind), now)
        return True

    def _of(self, utterance_id: str, kind: str) -> Heard | None:
        if self.heard is None or self.heard.id != utterance_id:
            expected = "nothing" if self.heard is None else self.heard.id
            self._tally.finding(f"session {self._session}: {kind} of {utterance_id!r} came, where {expected} was due")
            return None
        return self.heard

    def _audio(self, audio: Any, now: float) -> bool:
        heard = self._of(audio.utterance_id, "audio")
        if heard is None:
            return False
        is_first = heard.first_audio_at is None
        chunk = Chunk(sequence=audio.sequence, sample_offset=audio.sample_offset, sample_count=audio.sample_count)
        cost_seconds = heard.chunk(chunk, now)
        self._tally.counts["chunks"] += 1
        if cost_seconds is not None:
            self._tally.chunk.add(cost_seconds)
        if self.recording is not None:
            self.recording.hear(audio.data)
        return is_first

    def _ended(self, kind: str, message: Any, now: float) -> None:
        """Take in what is said of an utterance beside its audio."""
        heard = self._of(message.utterance_id, kind)
        if heard is None:
            return
        match kind:
            case "segment_done":
                heard.segment(text_start=message.text_start, text_end=message.text_end, sample_end=message.sample_end)
            case "utterance_done":
                heard.done(message.samples)
                self._tally.real_time_factor.add(message.real_time_factor)
                self._tally.counts["underruns that the service counted"] += message.underruns
                self._tally.counts["segments that a guard ended"] += len(message.guarded_segments)
            case "utterance_cancelled":
                heard.cancelled()
                self._tally.counts["interrupted"] += 1
                if heard.interrupted_at is not None:
                    self._tally.acknowledged.add(now - heard.interrupted_at)
            case "utterance_error":
                self._error(heard, message)
            case _:
                self._tally.told[kind] += 1

    def _error(self, heard: Heard, message: Any) -> None:
        reason = from_status(message.error).reason
        if message.closed:
            heard.failed()
            self._tally.failures[reason] += 1
        else:
            self._tally.refusals[reason] += 1
