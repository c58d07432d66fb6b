"""What was said of an utterance before its engine went: told with the error, for the rest to be asked for. Pure."""

from tts_service.errors import GreenroomError, Reason, ServiceError
from tts_service.speech.utterance import Utterance


def told_what_was_said(error: GreenroomError, utterance: Utterance) -> GreenroomError:
    """Return an error with what was said before it, where the client may ask for the rest again."""
    if error.reason is not Reason.ENGINE_RESTARTING:
        return error
    spoken, unspoken = utterance.split_text(None)
    told = {
        "text_spoken_bytes": str(len(spoken.encode())),
        "text_unspoken_bytes": str(len(unspoken.encode())),
        "samples_sent": str(utterance.samples_sent),
    }
    return ServiceError(
        error.reason,
        error.message,
        metadata={**error.metadata, **told},
        retry_after_seconds=error.retry_after_seconds,
    )
