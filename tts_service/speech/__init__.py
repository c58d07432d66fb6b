"""From text to coded audio; each stage file is named after what it produces.

Reading order: `session` (the protocol, pure), `segments`, `waveform`, `watermark`, `encoded_audio`, `pipeline`.
It knows nothing of gRPC.
"""
