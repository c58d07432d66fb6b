"""Where each module lives: leases for those who compute, moves for those who govern.

Reading order: `types`, `leases` and `placement` (pure), `governor` (pure), `mover`, `manager`, `history`.
It knows nothing of speech, of gRPC, or of why memory is short.
"""
