"""Action containers for clusters without Docker: programs that a task's command starts; standard library only."""
