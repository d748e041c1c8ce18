"""Pages: of `latadj report`, and of `latadj explain --html`."""
