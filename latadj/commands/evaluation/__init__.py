"""`latadj sweep` and `latadj eval`, for one checkpoint or several side by side."""
