"""The simulator's agents: their decisions, and what runs their tasks; nothing here listens to HTTP."""
