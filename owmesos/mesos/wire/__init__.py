"""Talks to masters and agents over HTTP and ZooKeeper: connections, framing, retries; it decides nothing on tasks."""
