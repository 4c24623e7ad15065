"""`owmesos demo`: a module for the command, one for each scenario with its view, and one for what they share. No other
command needs it."""
