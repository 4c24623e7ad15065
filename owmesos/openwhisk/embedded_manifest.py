"""The manifest of a cluster without Docker: the kinds that owmesos's own action containers serve."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from owmesos.openwhisk.manifest import Manifest, Runtime, StemCell

PYTHON_KIND = "python:3"
NODE_KIND = "nodejs:20"
NODE_FILE = Path(__file__).parents[1] / "runtimes" / "nodejs.js"


def embedded_manifest(
    *, python: str = sys.executable, node: str | None = None, stem_cells: tuple[StemCell, ...] = ()
) -> Manifest:
    """python:3, and nodejs:20 where node is installed. `python` must have owmesos; `stem_cells` are for every kind."""
    node = node or shutil.which("node")
    commands = {PYTHON_KIND: f"exec {shlex.quote(python)} -m owmesos.runtimes.python --port $PORT"}
    if node is not None:
        commands[NODE_KIND] = f"exec {shlex.quote(node)} {shlex.quote(str(NODE_FILE))} --port $PORT"
    runtimes = [Runtime(kind=kind, command=commands[kind], default=True, stem_cells=stem_cells) for kind in commands]
    return Manifest({runtime.family: (runtime,) for runtime in runtimes})
