"""Watch and tune the memory daemon: the command `memctl`.

It knows the wire and the operator; it decides nothing about memory. Reading order: `types` and `settings` (values);
`parse`, `format`, `documents`, `bars`, `tables`, `policy_tables`, `module_tables`, `usage`, `line`, `frame` (pure);
`plot`; `wire_fields`, `residency_wire`, `policy_wire` (message to value), `sockets`, `errors`, `statuses`, `link`,
`feed`, `screen` (edges); `invocation`, the `*_commands`, `app`, `__main__`.
"""
