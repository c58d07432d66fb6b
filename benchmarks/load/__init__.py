"""A load tool for the speech API: many listeners with clocks of their own, who notice everything that comes too late.

It knows the protos and nothing of how the service works, but for one rule that both share: where a sentence ends
(`text_log`). Reading order: `player` (one listener's ears), `heard` (one utterance), `turn` (what a client says, and
when), `caller` (one session), `crowd` (many of them), `tally` (what all of them met), then `capacity`, `measures` and
`soak`, which lead crowds, and `__main__`.
"""
