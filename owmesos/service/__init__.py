"""The framework process: decisions on one side, the world on the other, and nothing that decides in between."""
