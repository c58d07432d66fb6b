"""When the next sound of a session must be there, and when the tokens for it: so that its listener hears no gap. Pure.

Playback is taken to go on from the last word of the client or of the model of its player (`speech.playback`): a client
that pauses repeats its report, and with each one its deadlines move.
"""

from dataclasses import dataclass

from tts_service.speech.playback import PlaybackClock, ahead_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is aimed at."""

    first_audio_seconds: float = 0.15
    """From the order of a segment, with nothing left to hear, to its first sound."""
    margin_seconds: float = 0.25
    """What lies between sound that is made and its playback: coding, pacing and the network, and pieces of work of
    others' that have just begun when it becomes urgent. Simulated on an H100 with work a seventh dearer than the
    figures and 200 Turbo sessions, 0.12 left 245 short gaps in 30 s and this 20; first sounds came 0.02 s later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """What the listener of a session has been sent, and what is there for it."""

    clock: PlaybackClock
    unsent_seconds: float
    """Audio that is made and has not left, of all the session's utterances."""
    ordered_at: float
    """When the segment that is being made was ordered."""


def dry_at(hearing: Hearing) -> float:
    """Return when the listener will have heard all that is made, if playback goes on from now."""
    return hearing.clock.as_of + ahead_seconds(hearing.clock) + hearing.unsent_seconds


def sound_due_at(hearing: Hearing, promise: Promise) -> float:
    """Return by when the next sound must be there.

    A listener who had nothing left to hear when the segment was ordered waits for its text: then what counts is how
    soon it begins.
    """
    begins_at = hearing.ordered_at + promise.first_audio_seconds
    return max(begins_at, dry_at(hearing) - promise.margin_seconds)
