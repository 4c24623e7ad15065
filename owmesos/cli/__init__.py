"""The commands: each parses its options, asks a process or the library, and prints; nothing is decided here."""
