"""Watch and tune the memory daemon: the command `memctl`.

It knows the wire and the operator; it decides nothing about memory. Reading order: `types` and `settings` (values),
`parse`, `format`, `bars`, `tables`, `frame` and `documents` (pure), `wire` (proto to value), `sockets`, `errors`,
`link` and `feed` (edges), `invocation`, `app` and the `*_commands`, `__main__`.
"""
