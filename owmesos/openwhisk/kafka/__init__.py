"""OpenWhisk's topics: what an invoker reads, acknowledges and says of itself over Kafka; it runs no action."""
