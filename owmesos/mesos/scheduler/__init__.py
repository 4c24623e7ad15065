"""Decides what a Mesos framework does: events and time in, effects out; no I/O, no clock, no connection."""
