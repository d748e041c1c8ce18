"""Texts in and predictions out, window by window, without ever holding all of either."""
