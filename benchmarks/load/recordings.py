"""A few utterances as they came, chosen at random among all, to be spoken again alone when the load is over."""

import random
from dataclasses import dataclass, field
from typing import Final

BYTES_MOST: Final = 4 << 20
"""Kept of one utterance: 87 s of 16-bit samples at 24 kHz."""


@dataclass(slots=True, kw_only=True)
class Recording:
    """What was heard of an utterance. `text` is all that was meant to be written; less may have been spoken."""

    session: int
    utterance_id: str
    text: str
    data: bytearray = field(default_factory=bytearray)

    def hear(self, data: bytes) -> None:
        """Keep more of it, as far as there is room."""
        self.data += data[: BYTES_MOST - len(self.data)]


class Recordings:
    """At most so many recordings; each utterance that begins is as likely to be among them as any other."""

    def __init__(self, most: int, source: random.Random) -> None:
        self.kept: list[Recording] = []
        self._most = most
        self._source = source
        self._begun = 0

    def __repr__(self) -> str:
        return f"<Recordings {len(self.kept)} of {self._begun}>"

    def begin(self, session: int, utterance_id: str, text: str) -> Recording | None:
        """Return where to keep an utterance that begins; None if it is not chosen (Vitter's algorithm R)."""
        self._begun += 1
        place = len(self.kept) if len(self.kept) < self._most else self._source.randrange(self._begun)
        if place >= self._most:
            return None
        recording = Recording(session=session, utterance_id=utterance_id, text=text)
        self.kept[place : place + 1] = [recording]
        return recording
