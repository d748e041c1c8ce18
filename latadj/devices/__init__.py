"""The device a command runs on: its choice, its name, its CPUs, and what was running on it."""
