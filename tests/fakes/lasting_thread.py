"""A module that begins a thread when it is imported, as some libraries do."""

import threading

THREAD = threading.Thread(target=threading.Event().wait, daemon=True)
THREAD.start()
