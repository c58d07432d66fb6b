"""Where each module lives: leases for those who compute, moves for those who govern.

Reading order: `types`, `leases`, `wishes`, `situation`, `departures`, `away_moves` and `placement` (pure),
`governor` (pure), `mover`, then a GPU's `module_tensors`, `torch_device` and `device_tensors`, `module_store`,
`register`, `guard`, `move_worker`, `manager`, `history`, `reports`, `governance`.
It knows nothing of speech, of gRPC, or of why memory is short.
"""
