"""OpenWhisk's contracts: what an unchanged Controller sends over Kafka and expects back, the documents that it shares
with its invokers in CouchDB, and its action containers; no process of ours, and no decision on what runs where.
"""
