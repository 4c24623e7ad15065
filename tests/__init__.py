"""The tests: each folder mirrors the folder of owmesos that it tests."""
