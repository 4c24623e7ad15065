"""Chaos: owmesos, its master, agents and executors killed, frozen and cut off at random, and what came of it.

`scripts/chaos` runs it; docs/reliability.md says what it does and what it found. It uses owmesos as its users do: by
`owmesos run`, its admin API and a cluster, and judges by what the tasks wrote themselves.
"""
