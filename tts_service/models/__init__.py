"""Networks and weights; what a module is, and how it comes from disk.

Reading order: `catalog`, `weights`, `perth`, `string_table`, `builtin`. It knows nothing of requests, leases or
directives.
"""
