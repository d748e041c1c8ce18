"""Predictions over data sets in blocks: rows of one file each, which any process can answer and write by itself."""
