"""The stages of speech as they run on a GPU: captured once, replayed for every token and chunk.

What a stage computes is said in `speech_tokens`, `mel_flow`, `waveform` and `watermark`. Here it is computed again,
equal to rounding, in forms that a CUDA graph can hold: static buffers, lengths as tensors, nothing read back. It does
not know of requests, sessions or tiers; a stage gets its leased module and plain tensors. On a CPU the same code runs
uncaptured, which is how it is tested. Reading order: `graphs`, then a stage's files.
"""
