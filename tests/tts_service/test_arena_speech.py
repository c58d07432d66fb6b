"""Speech from modules in arenas that move between any two steps: the same samples as from host memory."""

import random

import numpy as np
import pytest
from structlog.testing import capture_logs

from tests.fakes.arena_residency import arena_weights
from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tests.fakes.tiny_chatterbox import TinyChatterbox, segment_of
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.types import ModuleName, Waveform

TEXT = "A word, and some more of them."


class Moves:
    """Lets some modules leave before each step, and brings what the step needs."""

    def __init__(self, modules: dict[ModuleName, object], weights: ArenaWeights) -> None:
        self.evictions = 0
        self._modules = modules
        self._weights = weights
        self._there: set[ModuleName] = set()
        self._random = random.Random(1)

    def before(self, needed: frozenset[ModuleName]) -> None:
        """Make the moves before a step."""
        for name in sorted(self._there):
            if self._random.random() < 0.5:
                self._weights.evict(name)
                self._there.discard(name)
                self.evictions += 1
        for name in sorted(needed - self._there):
            self._weights.restore(name, self._modules[name])
            self._there.add(name)


def _spoken(chatterbox: TinyChatterbox, moves: Moves) -> Waveform:
    segment = chatterbox.speech.utterance(chatterbox.config()).segment(segment_of(TEXT), 0)
    return np.concatenate(list(chatterbox.steps(segment, moves.before)))


@pytest.mark.parametrize("model", [ChatterboxModel.ENGLISH, ChatterboxModel.TURBO])
def test_speech_is_the_same_with_moves_between_any_two_steps(
    tmp_path_factory: pytest.TempPathFactory, model: ChatterboxModel
) -> None:
    """Not one sample differs, and nothing in the models' code needs what an arena refuses."""
    chatterbox, driver = TinyChatterbox(tmp_path_factory.getbasetemp().parent / "tiny-weights", model), FakeCudaDriver()
    moves = Moves(chatterbox.modules, arena_weights(driver, adopt_from_bytes=1 << 12))
    with capture_logs() as logs:
        expected = chatterbox.spoken(chatterbox.config(), TEXT)
        actual = _spoken(chatterbox, moves)

    assert np.array_equal(expected, actual)
    assert (None, 0, True) == (driver.lost, driver.pageable_copies, moves.evictions > 3)
    assert [] == [each for each in logs if each["log_level"] == "error"]
