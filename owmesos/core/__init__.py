"""Decisions that know no cluster manager: event and time in, effects out; no waiting, no sending, no clock."""
