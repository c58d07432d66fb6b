"""The table of answers: what a session does with each message for an utterance, by the utterance's phase.

Rule 1: every rule about which message is welcome when stands here; `session.py` only carries the answers out.
Rule 2: a client that speaks the protocol right can still race with its own cancel or with the end of an utterance;
such messages are dropped or acknowledged, never an error.
"""

from collections.abc import Mapping
from enum import Enum

from tts_service.speech.protocol import CancelUtterance, EndUtterance, Flush, PlaybackPosition, TextChunk

UtteranceMessage = TextChunk | Flush | EndUtterance | CancelUtterance | PlaybackPosition


class Phase(Enum):
    """Where an utterance is in its life."""

    UNKNOWN = "unknown"
    OPEN = "open"
    """Takes text."""
    CLOSING = "closing"
    """Its text has ended; it is still being spoken."""
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Said(Enum):
    """A client's message for an utterance."""

    TEXT = "text"
    FLUSH = "flush"
    END = "end"
    CANCEL = "cancel"
    PLAYBACK = "playback"


class Answer(Enum):
    """What to do with it."""

    CREATE = "create the utterance, then accept"
    ACCEPT = "accept"
    IGNORE = "ignore"
    DROP = "drop: an ordinary race"
    REFUSE = "UtteranceError; the utterance stays as it was"
    ALREADY_DONE = "UtteranceCancelled{already_done}"


TABLE: Mapping[Phase, Mapping[Said, Answer]] = {
    Phase.UNKNOWN: {
        Said.TEXT: Answer.CREATE,
        Said.FLUSH: Answer.CREATE,
        Said.END: Answer.IGNORE,
        Said.CANCEL: Answer.ALREADY_DONE,
        Said.PLAYBACK: Answer.IGNORE,
    },
    Phase.OPEN: {
        Said.TEXT: Answer.ACCEPT,
        Said.FLUSH: Answer.ACCEPT,
        Said.END: Answer.ACCEPT,
        Said.CANCEL: Answer.ACCEPT,
        Said.PLAYBACK: Answer.ACCEPT,
    },
    Phase.CLOSING: {
        Said.TEXT: Answer.REFUSE,
        Said.FLUSH: Answer.REFUSE,
        Said.END: Answer.IGNORE,
        Said.CANCEL: Answer.ACCEPT,
        Said.PLAYBACK: Answer.ACCEPT,
    },
    # Its audio has left but may still be playing, so its playback counts for pacing.
    Phase.DONE: {
        Said.TEXT: Answer.REFUSE,
        Said.FLUSH: Answer.REFUSE,
        Said.END: Answer.IGNORE,
        Said.CANCEL: Answer.ALREADY_DONE,
        Said.PLAYBACK: Answer.ACCEPT,
    },
    Phase.CANCELLED: {
        Said.TEXT: Answer.DROP,
        Said.FLUSH: Answer.DROP,
        Said.END: Answer.IGNORE,
        Said.CANCEL: Answer.ALREADY_DONE,
        Said.PLAYBACK: Answer.IGNORE,
    },
    # The client may have sent text before it heard of the failure.
    Phase.FAILED: {
        Said.TEXT: Answer.DROP,
        Said.FLUSH: Answer.DROP,
        Said.END: Answer.IGNORE,
        Said.CANCEL: Answer.ALREADY_DONE,
        Said.PLAYBACK: Answer.IGNORE,
    },
}


def said(message: UtteranceMessage) -> Said:
    """Return the table's word for a message."""
    return {
        TextChunk: Said.TEXT,
        Flush: Said.FLUSH,
        EndUtterance: Said.END,
        CancelUtterance: Said.CANCEL,
        PlaybackPosition: Said.PLAYBACK,
    }[type(message)]
