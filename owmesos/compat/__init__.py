"""Other libraries' own names on top of our wire, for programs that are written for them."""
