"""The process on Kubernetes: the factory's decisions carried out on an API server, and what is shown of them. Nothing
is decided here."""
