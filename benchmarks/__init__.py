"""How fast owmesos is, beside the alternative that each benchmark names, measured in the same run.

A benchmark is a module here with `run(quick: bool) -> list[Row]`; its docstring is the text above its table,
and `quick` asks for a few seconds at most. `benchmarks/run` runs them, each in a process of its own.
"""
