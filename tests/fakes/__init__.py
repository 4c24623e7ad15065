"""Stand-ins that behave: used instead of mocks."""
