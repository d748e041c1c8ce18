"""What a user could take instead: the same model in other runtimes."""
