"""The engine in a process of its own: what is said between it and the front end, and how one looks after the other.

Of neither gRPC nor what speech is made of does it know anything. Read `messages`, then `values`, `frames` and `channel`
(how they travel); `remote_speech` and `supervisor` are the front end's side, `host` the engine's; `restarts` and
`watchdog` decide, `master_shelf` keeps weights over a restart, `spare` what was
imported; `engine_starts` makes engines.
"""
