"""Results as tables for the terminal, Markdown, CSV and LaTeX."""
