"""The cluster of several hosts that vagrant/ describes, as far as it can be had without Vagrant."""
