"""`latadj prune`."""
