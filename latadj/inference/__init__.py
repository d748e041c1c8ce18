"""A checkpoint made ready to serve: load, predict streams, deadlines, explain a text."""
