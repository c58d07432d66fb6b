"""Kernels one after another that overlap: the next begins while the one ahead still computes, and waits where it must.

Rules (programmatic dependent launch, from compute capability 9.0)
* Before `await_last` a kernel reads only what no kernel writes, and writes nothing.
* Every kernel of a chain awaits the last one, so that what is two kernels behind has ended as well.
"""

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def begin_next(early: tl.constexpr) -> None:
    """Let the next kernel begin once all programs of this one have come here."""
    if early:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def await_last(early: tl.constexpr) -> None:
    """Wait until the kernel ahead has ended, and all that it wrote is there."""
    if early:
        tl.extra.cuda.gdc_wait()


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]  # Triton ships no types.
def take_turn(early: tl.constexpr) -> None:
    """Both, for a kernel with nothing to read ahead."""
    begin_next(early)
    await_last(early)
