"""Policies that ship with the daemon, one file each; `memory_daemon.profile_files` reads them by name."""
