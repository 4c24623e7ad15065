"""What turns the libmesos of a published package into daemons: the launcher, stub libraries, a command executor."""
