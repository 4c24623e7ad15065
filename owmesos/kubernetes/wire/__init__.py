"""Speaks with the API server: who we are, requests, and the watches. Decides nothing: what it hears becomes events."""
