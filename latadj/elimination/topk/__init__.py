"""Selective hard attention: each query attends to its top-k keys."""
