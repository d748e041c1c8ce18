"""Options that several commands share, one module a subject."""
