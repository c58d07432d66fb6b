"""What a stage of the sound's lane can do.

It is asked for hundreds of stages a second: by attribute, because `isinstance` takes 20 us for each.
"""

from typing import Any, cast

from tts_service.speech.company import Company, CompanyDecoding, CompanyStage
from tts_service.speech.speech_model import Modules, Sound, Stage


def solver_steps(stage: Stage | None) -> int:
    """Return by how many steps a stage decodes; 0 for one that does not."""
    return int(getattr(stage, "solver_steps", 0))


def steps_left(stage: Stage | None) -> int | None:
    """Return the steps of a decode that has a place; None if none has."""
    return cast("int | None", getattr(stage, "steps_left", None))


def company_of(stage: Stage | None) -> Company | None:
    """Return with whom a stage's step may be taken."""
    return cast("Company | None", getattr(stage, "company", None))


def joins(stage: Stage | None) -> bool:
    """Tell whether a stage decodes, and would do so in company if there were any."""
    return bool(getattr(stage, "joins", False))


def decoding(stage: Stage | None) -> CompanyDecoding | None:
    """Return a stage that may decode in company."""
    can = solver_steps(stage) and company_of(stage) is not None
    return cast("CompanyDecoding", stage) if can else None


def take_part(stage: CompanyStage, made: Any, leased: Modules) -> Sound | None:
    """Take a stage's part of what was computed for several."""
    del leased
    return stage.take(made)


def name_of(stage: Stage) -> str:
    """Return what a stage's steps are called in a trace."""
    return type(stage).__name__.removesuffix("Stage").lower()
