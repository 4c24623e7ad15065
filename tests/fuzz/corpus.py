"""Inputs that once failed: `corpus/TARGET/NAME`, each as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def entries() -> Iterator[tuple[str, Path]]:
    """The target, and the file."""
    for file in sorted(CORPUS.glob("*/*")):
        yield file.parent.name, file


def keep(target: str, data: bytes) -> Path:
    """Returns the file that `data` is kept in."""
    file = CORPUS / target / hashlib.sha256(data).hexdigest()[:12]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file
