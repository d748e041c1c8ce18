"""Elimination of tokens: scores, profiles, cost, architectures and attachment.

Knows torch and transformers; knows nothing of Hydra, tasks, files or kernels, which register themselves by
:mod:`latadj.elimination.architectures.base`.
"""
