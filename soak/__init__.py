"""`scripts/soak`: owmesos under the same load for a long time, as the months would show it in twenty minutes.

Two frameworks, each in a process with its admin API: one launches on thousands of simulated agents, with faults on; the
other is an invoker whose warm containers are real processes. Both simulators are processes of their own too, so that
memory and the loop's lag are owmesos's.
"""
