"""`latadj glue`: every stage of GLUE's tasks, tables, and a submission."""
