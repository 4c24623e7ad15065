"""What Kubernetes does, as cases that run on a simulated one and on a real one: `cluster.py` is all that they know."""
