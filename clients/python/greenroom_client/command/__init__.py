"""What `tts-say` is made of: text from somewhere, speech to somewhere, figures about both.

It knows the synchronous SDK and the terminal, nothing of the wire. Reading order: `problems`, `plan`, `text`, `wav`,
`outputs`, `device`, `figures`, `progress`, `speaking`, `catalog`; `greenroom_client.say` is the command itself.
"""
