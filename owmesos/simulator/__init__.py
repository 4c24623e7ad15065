"""A Mesos that is ours: a master and agents that behave as measured."""
