"""A scheduler on the simulator in virtual time, event by event, and what must hold of it."""
