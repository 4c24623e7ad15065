"""A Mesos master's books in virtual time, and what must hold of a scheduler that runs against them."""
