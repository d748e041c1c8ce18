"""A classification task as a prompt to a language model."""
