"""Which tables each kind of result is shown in."""
