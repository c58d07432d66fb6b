"""What is known of a module's host memory that outlives the process which filled it."""

from dataclasses import dataclass

from tts_service.types import ModuleName


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMaster:
    """A module's filled memory. `identity` names what is in it, `descriptor` is this process's for it."""

    module: ModuleName
    identity: str
    byte_count: int
    descriptor: int
