"""For our users' tests: a pytest plugin, and a scheduler in virtual time; no running framework needs it."""
