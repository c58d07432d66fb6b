"""Samples of memory in, directives out. It holds no device memory, needs no torch, and never kills anything.

Reading order: `types`, `marks`; then the decision, which is pure: `policy`, `actions`, `victims`, `restores`, `orders`,
`modules`, `ledger`, `placements`; then the shell: `loop`, `sampler`, `host_memory`, `links`, `link`, `journal`,
`store`, `board`, `admin`; at the end `config` and `__main__`.
"""
