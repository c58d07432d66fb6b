"""Watch and tune the memory daemon: the command `memctl`."""
