"""Other libraries' own names on top of our wire, for programs written for them. Nothing of ours imports from here, and
nothing is decided here."""
