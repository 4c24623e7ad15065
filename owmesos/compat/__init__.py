"""Other libraries' own names on top of our wire, for programs written for them; nothing of ours imports from here."""
