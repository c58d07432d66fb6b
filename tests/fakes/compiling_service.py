"""`python -m tests.fakes.compiling_service`: the service, whose start compiles a kernel as it does on a GPU."""

from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tts_service import __main__ as command
from tts_service import service
from tts_service.engine_parts import EngineParts

HOPPER = GPUTarget("cuda", 90, 32)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def _plus_one(values: tl.tensor, count: tl.tensor, block: tl.constexpr) -> None:
    place = tl.program_id(0) * block + tl.arange(0, block)
    tl.store(values + place, tl.load(values + place, mask=place < count) + 1, mask=place < count)


def compiled_parts(*arguments: Any) -> EngineParts:
    """Compile, and return the parts."""
    signature = {"values": "*fp32", "count": "i32", "block": "constexpr"}
    triton.compile(ASTSource(fn=_plus_one, signature=signature, constexprs={(2,): 128}), target=HOPPER)
    return load(*arguments)


load = service.engine_parts

if __name__ == "__main__":
    service.engine_parts = compiled_parts
    command.main()
