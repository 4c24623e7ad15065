"""A real Kubernetes for tests: its own control plane, and kubelets whose containers are processes of this machine.

One Go program (`program/`) is all of them. It needs no root, no Docker and no kubectl; addresses are on the loopback.
"""
