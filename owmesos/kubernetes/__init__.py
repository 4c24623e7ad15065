"""Kubernetes as a container factory: nodes and pods in, pods posted and deleted. Nothing of OpenWhisk, no process."""
