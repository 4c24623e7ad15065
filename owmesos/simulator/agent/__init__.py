"""Agents: their decisions, and what runs their tasks."""
