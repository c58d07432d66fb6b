"""Chatterbox's networks and weights: which modules a model consists of, how they are built, and where they come from.

Upstream's package (`chatterbox-tts` 0.1.7) defines the networks and is imported only when one is built, through
`upstream`. Nothing here knows text, sessions or speech; `tts_service.speech` decodes with what is built here.
Reading order: `upstream`, `network_size`, `s3gen_network`, `t3_network`, then the weights.
"""
