"""Which model speaks, on which device, and why. Pure: what the machine has is an argument."""

from collections.abc import Callable
from dataclasses import dataclass

from tts_service.config import ModelChoice
from tts_service.errors import StartupError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel

CPU = "cpu"
UNNAMED_WEIGHTS = "hub"
"""What the setting says where nobody has named weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """What was chosen: one of Chatterbox's models or (None) the built-in voice; `device` is "cpu" or "cuda:N"."""

    model: ChatterboxModel | None
    device: str
    reason: str


def choose_engine(
    wanted: ModelChoice,
    device: str,
    *,
    cuda_devices: int,
    weights_at_hand: Callable[[ChatterboxModel], bool],
    weights: str = UNNAMED_WEIGHTS,
) -> EngineChoice:
    """Choose what was asked for, and for `auto` what suits the machine.

    `device` is "auto", "cpu", "cuda" or "cuda:N"; `weights_at_hand` is asked only if the answer matters. Raises
    StartupError for a device that is not there, or that the built-in voice cannot use, and for `weights` that somebody
    has named and `auto` would leave aside: speech in another voice than was asked for is no answer.
    """
    found = _device(device, cuda_devices)
    match wanted:
        case ModelChoice.AUTO:
            choice = _suitable(found, weights_at_hand)
            if choice.model is None and weights != UNNAMED_WEIGHTS:
                raise StartupError(
                    f"weights {weights}: they would not be used ({choice.reason}); name a model with --model english, "
                    "multilingual or turbo, or leave the weights out for the built-in voice"
                )
            return choice
        case ModelChoice.BUILTIN:
            if device not in {"auto", CPU}:
                raise StartupError(f"device {device}: the built-in voice speaks on a CPU; leave the device out")
            return EngineChoice(model=None, device=CPU, reason="asked for")
        case _:
            return EngineChoice(model=ChatterboxModel(wanted.value), device=found, reason="asked for")


def _suitable(device: str, weights_at_hand: Callable[[ChatterboxModel], bool]) -> EngineChoice:
    if device == CPU:
        reason = "no CUDA device is to be used here, and Chatterbox needs one to speak in real time"
        return EngineChoice(model=None, device=CPU, reason=reason)
    if not weights_at_hand(ChatterboxModel.ENGLISH):
        reason = f"{device} is there, but no weights are in the cache: --download gets them, --weights names others"
        return EngineChoice(model=None, device=CPU, reason=reason)
    return EngineChoice(model=ChatterboxModel.ENGLISH, device=device, reason=f"{device} and weights are there")


def _device(wanted: str, cuda_devices: int) -> str:
    if wanted == CPU or (wanted == "auto" and not cuda_devices):
        return CPU
    number = int(wanted.partition(":")[2] or 0)
    if number >= cuda_devices:
        there = f"there are {cuda_devices}" if cuda_devices else "there is none"
        raise StartupError(f"device {wanted}: no such CUDA device is usable here ({there}); choose auto or cpu")
    return f"cuda:{number}"
