"""The simulator's master: what it does on calls, and as time passes; no I/O and no clock."""
