"""OpenWhisk's action containers: their protocol, runs and logs; it starts and stops no container."""
