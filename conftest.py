"""What every test runs under."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.fixtures.ci"]

# The machine is shared by several test processes: how long one example takes says nothing.
settings.register_profile("owmesos", deadline=None)
settings.load_profile("owmesos")
