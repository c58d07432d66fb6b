"""What an operator can set of the process that the engine runs in."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class EngineProcess(StrEnum):
    """Where the engine computes: in a process of its own, in the one that serves, or where that suits the device."""

    AUTO = "auto"
    OWN = "own"
    SAME = "same"


class EngineSettings(BaseModel):
    """Where the engine computes, and what becomes of one that dies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    process: EngineProcess = Field(
        EngineProcess.AUTO, description="own, same, or auto: a process of its own on a GPU, the same one on a CPU."
    )
    spare: bool = Field(
        default=True,
        description="Keep a process that has imported what an engine needs; engines are its copies, and there sooner.",
    )
    hang_seconds: float = Field(
        10.0,
        ge=1,
        le=3_600,
        description="An engine of its own that is silent, or takes one step, for so long is killed.",
    )
    most_deaths: int = Field(
        5, ge=1, le=1_000, description="After so many deaths of the engine within the window the service ends."
    )
    death_window_seconds: float = Field(300.0, gt=0, le=86_400, description="That window.")
