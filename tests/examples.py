"""How many random histories a state machine goes through: all on one Python, a share of them on the others.

`OWMESOS_EXAMPLES` (0 to 1) is set by scripts/test for all Pythons but one: decisions do not differ between them, the
interpreter might.
"""

from __future__ import annotations

import os


def examples(count: int) -> int:
    """`count`, or the share of it that is asked for, and never fewer than 5."""
    return max(min(5, count), round(count * float(os.environ.get("OWMESOS_EXAMPLES", "1"))))
