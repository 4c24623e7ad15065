"""For our users' tests: a pytest plugin, and a scheduler in virtual time. No running framework needs it, and what only
our own tests need is in tests/."""
