"""One module a command: ``prepare(config)`` loads and refuses, ``run(prepared)`` works and writes."""
