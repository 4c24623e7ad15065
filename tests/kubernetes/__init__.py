"""The tests of owmesos.kubernetes, and of what they take Kubernetes to be."""
