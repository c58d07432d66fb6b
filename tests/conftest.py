"""What holds for all tests."""

import signal

# A shell that starts a job in the background has it ignore SIGINT, nohup has it ignore SIGHUP, and children inherit
# that; tests that interrupt a command need the usual dispositions, wherever they are started from.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
