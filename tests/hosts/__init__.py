"""Clusters of several hosts for tests, as vagrant/hosts.json describes them: Vagrant's machines, or namespaces."""
