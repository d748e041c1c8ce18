"""A server that turns the dial before it drops a request: what `latadj serve` runs."""
