"""`latadj serve`."""
