"""What speaks: what was asked for, and for `auto` what suits the machine, with the reason."""

import pytest

from tts_service.config import ModelChoice
from tts_service.engine_choice import EngineChoice, choose_engine
from tts_service.errors import StartupError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel


def chosen(wanted: ModelChoice, device: str = "auto", *, cuda_devices: int = 0, at_hand: bool = True) -> EngineChoice:
    """Choose on a machine."""
    return choose_engine(wanted, device, cuda_devices=cuda_devices, weights_at_hand=lambda _model: at_hand)


@pytest.mark.parametrize(
    ("device", "cuda_devices", "at_hand", "expected", "why"),
    [
        ("auto", 1, True, (ChatterboxModel.ENGLISH, "cuda:0"), "weights are there"),
        ("cuda:1", 2, True, (ChatterboxModel.ENGLISH, "cuda:1"), "cuda:1"),
        ("auto", 1, False, (None, "cpu"), "--download"),
        ("auto", 0, True, (None, "cpu"), "no CUDA device"),
        ("cpu", 1, True, (None, "cpu"), "no CUDA device"),
    ],
)
def test_auto_takes_english_where_device_and_weights_are_there(
    device: str,
    cuda_devices: int,
    at_hand: bool,  # noqa: FBT001  # A column of the table.
    expected: tuple[ChatterboxModel | None, str],
    why: str,
) -> None:
    """It needs both; without either the built-in voice speaks, and the reason says what is missing."""
    choice = chosen(ModelChoice.AUTO, device, cuda_devices=cuda_devices, at_hand=at_hand)

    assert expected == (choice.model, choice.device)
    assert why in choice.reason


@pytest.mark.parametrize(
    ("wanted", "device", "cuda_devices", "expected"),
    [
        (ModelChoice.TURBO, "auto", 0, (ChatterboxModel.TURBO, "cpu")),
        (ModelChoice.MULTILINGUAL, "auto", 1, (ChatterboxModel.MULTILINGUAL, "cuda:0")),
        (ModelChoice.ENGLISH, "cpu", 1, (ChatterboxModel.ENGLISH, "cpu")),
        (ModelChoice.ENGLISH, "cuda", 1, (ChatterboxModel.ENGLISH, "cuda:0")),
        (ModelChoice.BUILTIN, "auto", 1, (None, "cpu")),
    ],
)
def test_what_is_asked_for_is_taken_whether_its_weights_are_at_hand_or_not(
    wanted: ModelChoice, device: str, cuda_devices: int, expected: tuple[ChatterboxModel | None, str]
) -> None:
    """Weights that are missing are an error later, and never another voice."""
    choice = chosen(wanted, device, cuda_devices=cuda_devices, at_hand=False)

    assert (*expected, "asked for") == (choice.model, choice.device, choice.reason)


@pytest.mark.parametrize(("cuda_devices", "at_hand"), [(0, True), (1, False)])
@pytest.mark.parametrize("weights", ["/models/mine", "synthetic", "synthetic:tiny"])
def test_weights_that_auto_would_leave_aside_stop_the_start(cuda_devices: int, weights: str, *, at_hand: bool) -> None:
    """Whoever names weights does not hear the built-in voice instead; the message says why, and both ways out."""
    with pytest.raises(StartupError, match=f"weights {weights}: they would not be used .*--model"):
        choose_engine(
            ModelChoice.AUTO,
            "auto",
            cuda_devices=cuda_devices,
            weights_at_hand=lambda _model: at_hand,
            weights=weights,
        )


@pytest.mark.parametrize(
    ("wanted", "cuda_devices", "model"),
    [(ModelChoice.AUTO, 1, ChatterboxModel.ENGLISH), (ModelChoice.TURBO, 0, ChatterboxModel.TURBO)],
)
def test_weights_that_are_named_are_used(wanted: ModelChoice, cuda_devices: int, model: ChatterboxModel) -> None:
    """Where auto takes Chatterbox, or a model is named, named weights are those that speak."""
    choice = choose_engine(
        wanted, "auto", cuda_devices=cuda_devices, weights_at_hand=lambda _model: True, weights="/models/mine"
    )

    assert model is choice.model


@pytest.mark.parametrize(
    ("wanted", "device", "cuda_devices"),
    [
        (ModelChoice.ENGLISH, "cuda", 0),
        (ModelChoice.AUTO, "cuda:2", 2),
        (ModelChoice.BUILTIN, "cuda", 1),
    ],
)
def test_device_that_cannot_be_used_is_refused(wanted: ModelChoice, device: str, cuda_devices: int) -> None:
    """A device that is asked for and not there stops the start, and so does one for the built-in voice."""
    with pytest.raises(StartupError, match=f"device {device}"):
        chosen(wanted, device, cuda_devices=cuda_devices)
