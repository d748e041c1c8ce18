"""The clock, intervals, and the machine that the numbers come from."""
