"""Decides which container runs what, and which to start and stop; it knows no cluster manager and does no I/O."""
