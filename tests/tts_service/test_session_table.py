"""The table of answers, carried out by a real session: the table under test is the table of the test."""

import pytest

from tests.fakes.session_driver import SessionDriver
from tts_service.errors import Reason, ServiceError
from tts_service.speech.protocol import (
    CancelUtterance,
    ClientMessage,
    EndUtterance,
    Flush,
    PlaybackPosition,
    TextChunk,
    UtteranceCancelled,
    UtteranceError,
)
from tts_service.speech.rendering import RenderFailed
from tts_service.speech.session_config import ConfigRequest, Pacing
from tts_service.speech.session_table import TABLE, Answer, Phase, Said

MESSAGES: dict[Said, ClientMessage] = {
    Said.TEXT: TextChunk(utterance_id="u", text="More."),
    Said.FLUSH: Flush(utterance_id="u", flush_id="f"),
    Said.END: EndUtterance(utterance_id="u"),
    Said.CANCEL: CancelUtterance(utterance_id="u"),
    Said.PLAYBACK: PlaybackPosition(utterance_id="u", played_samples=1),
}


def in_phase(phase: Phase) -> SessionDriver:
    """Return a session whose utterance "u" is in that phase, with its messages so far taken away."""
    driver = SessionDriver(ConfigRequest(pacing=Pacing.REALTIME), rendering=phase is Phase.DONE)
    if phase is not Phase.UNKNOWN:
        driver.say(TextChunk(utterance_id="u", text="Hello there."))
    if phase in {Phase.CLOSING, Phase.DONE}:
        driver.say(EndUtterance(utterance_id="u"))
    if phase is Phase.CANCELLED:
        driver.say(CancelUtterance(utterance_id="u"))
    if phase is Phase.FAILED:
        failure = ServiceError(Reason.ENGINE_FAULT, "broken")
        driver.session.rendered(RenderFailed(utterance_id="u", error=failure), driver.clock())
        driver.run()
    driver.run().drain_messages()
    return driver


@pytest.mark.parametrize("said", Said)
@pytest.mark.parametrize("phase", Phase)
def test_table_every_phase_and_message_gives_its_answer(phase: Phase, said: Said) -> None:
    """Each message in each phase has exactly the effect that the table names, and the session lives."""
    driver = in_phase(phase)
    assert driver.session.utterances.phase("u") is phase

    driver.say(MESSAGES[said])

    after = driver.session.utterances.phase("u")
    errors = [m for m in driver.messages if isinstance(m, UtteranceError)]
    cancels = [m for m in driver.messages if isinstance(m, UtteranceCancelled)]
    assert driver.session.end_error is None
    match TABLE[phase][said]:
        case Answer.CREATE:
            assert (Phase.OPEN, [], []) == (after, errors, cancels)
        case Answer.ACCEPT:
            expected = {Said.END: Phase.CLOSING, Said.CANCEL: Phase.CANCELLED}.get(said, phase)
            assert (expected, []) == (after, errors)
            assert (said is Said.CANCEL) == any(not c.already_done for c in cancels)
        case Answer.IGNORE | Answer.DROP:
            assert (phase, []) == (after, driver.messages)
        case Answer.REFUSE:
            assert (phase, [(Reason.BAD_CONFIG, False)]) == (after, [(e.error.reason, e.closed) for e in errors])
        case Answer.ALREADY_DONE:
            assert (phase, [True]) == (after, [c.already_done for c in cancels])


def test_table_covers_every_phase_and_message() -> None:
    """No combination is left to chance."""
    cells = {(phase, said) for phase, row in TABLE.items() for said in row}

    assert {(phase, said) for phase in Phase for said in Said} == cells
