"""Action containers for clusters without Docker: programs of their own, which only the command of a task starts."""
