"""What each command gets: one dataclass a command."""
