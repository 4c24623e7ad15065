"""Apache Mesos: its messages, the wires that carry them, and a framework's scheduler; it knows no OpenWhisk."""
