"""What owmesos reads from outside, with input that nobody meant: see `scripts/fuzz`."""
