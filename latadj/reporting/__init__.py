"""What a command leaves behind: progress while it runs, tables, files and pictures."""
