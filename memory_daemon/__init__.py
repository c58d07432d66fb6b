"""Samples of memory in, directives out. It holds no device memory, needs no torch, and never kills anything.

Reading order: `types`, `policy` and `ledger` (pure), `sampler`, `loop`, `link`, `journal`, `admin`, `config`, `__main__`.
"""
