"""Elimination of tokens: score, profile, cost, families and attachment.

Knows torch and transformers; knows nothing of Hydra, tasks or files.
"""
