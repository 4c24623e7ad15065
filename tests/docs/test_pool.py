"""The table of a container's states in the docs is what the code says. `python -m tests.docs.test_pool` writes it."""

from __future__ import annotations

from pathlib import Path

from owmesos.core.containers import diagram

POOL = Path(__file__).parents[2] / "docs" / "pool.md"
BEGIN, END = "<!-- begin: containers -->\n", "<!-- end: containers -->"


def with_diagram(text: str) -> str:
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}```mermaid\n{diagram()}```\n{END}{rest.split(END)[1]}"


def test_the_states_of_a_container_are_drawn_from_the_table() -> None:
    text = POOL.read_text(encoding="utf-8")
    assert text == with_diagram(text), "run: python -m tests.docs.test_pool"


if __name__ == "__main__":
    POOL.write_text(with_diagram(POOL.read_text(encoding="utf-8")), encoding="utf-8")
