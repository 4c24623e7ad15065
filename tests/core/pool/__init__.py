"""The container pool, in virtual time on a cluster that is a few dictionaries."""
