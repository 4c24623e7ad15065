"""What turns the libmesos of a published package into daemons; it imports nothing of owmesos from outside."""
