"""`python -m owmesos` is the command `owmesos`."""

from __future__ import annotations

from owmesos.cli.main import main

if __name__ == "__main__":
    main()
