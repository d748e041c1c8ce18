"""`latadj predict`."""
