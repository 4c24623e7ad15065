"""OpenWhisk's contracts: what an unchanged Controller sends over Kafka and expects back, the documents that it shares
with its invokers in CouchDB, and an invoker's HTTP interface.

The pool (`owmesos.core`) decides; this package only speaks OpenWhisk's language on both sides of it.
"""
