"""One suite of facts about Mesos, for every cluster and every driver: see `clusters` and `drivers`."""
