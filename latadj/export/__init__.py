"""Models as graphs for other runtimes, with the dial as an input."""
