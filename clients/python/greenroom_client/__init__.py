"""Greenroom for Python: `greenroom_client.aio` and `greenroom_client.sync` speak, `tts-say` is the command.

It knows the wire contract and nothing of the service behind it; it needs neither torch nor numpy. What both APIs decide
is pure and shared, what they do is not. Reading order: `config`, `events`, `values` and `errors` (values),
`conversation` with `utterance_record`, `retries` and `targets` (decisions), `requests`, `responses`, `config_messages`,
`catalog_messages` and `statuses` (the wire), `aio*` and `sync*` (the two APIs), `command` and `say` (the command).
"""
