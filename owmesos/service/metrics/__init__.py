"""What Prometheus reads at `/metrics`: gauges read from the state at a scrape, and counts that the decisions keep.
Nothing is counted here."""
