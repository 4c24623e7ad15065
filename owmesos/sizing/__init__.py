"""What a cluster needs: a workload on a changing cluster in virtual time, owmesos's way or with a fixed user-memory.

No running framework needs it, and what a framework decides is not decided here: the same decisions are driven.
"""
