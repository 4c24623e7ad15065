"""Where actions come from and activations go: CouchDB, or a file of our own; it knows no Kafka and no container."""
