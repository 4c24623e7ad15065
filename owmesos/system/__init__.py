"""What the machine gives: files, folders, host names, ports, connections, the JSON that comes over them, pauses
between tries, lines for people; nothing here knows a cluster."""
