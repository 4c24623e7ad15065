"""Apache Mesos 1.11.0 on the user's own machine, built on first use, without root or Docker; it schedules nothing."""
