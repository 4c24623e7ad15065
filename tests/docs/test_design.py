"""What the docs draw from the code is what the code says. `python -m tests.docs.test_design` writes it anew."""

from __future__ import annotations

from pathlib import Path

from owmesos.core.lifecycle import diagram

DESIGN = Path(__file__).parents[2] / "docs" / "design.md"
BEGIN, END = "<!-- begin: life-cycle -->\n", "<!-- end: life-cycle -->"


def with_diagram(text: str) -> str:
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}```mermaid\n{diagram()}```\n{END}{rest.split(END)[1]}"


def test_the_diagram_of_a_launchs_life_is_drawn_from_the_table() -> None:
    text = DESIGN.read_text()
    assert text == with_diagram(text), "run: python -m tests.docs.test_design"


if __name__ == "__main__":
    DESIGN.write_text(with_diagram(DESIGN.read_text()))
