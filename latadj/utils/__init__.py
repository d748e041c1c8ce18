"""Files, the hub and the console; nothing of our own method."""
