"""A saved model: a transformers folder plus ``latadj.json``, and what its files say without loading it."""
