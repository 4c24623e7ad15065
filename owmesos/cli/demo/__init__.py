"""`owmesos demo`: one module for the command, one for each of the two scenarios and what it shows."""
