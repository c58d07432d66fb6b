"""Greenroom for Python: `greenroom_client.aio` and `greenroom_client.sync` speak, `tts-say` is the command."""
