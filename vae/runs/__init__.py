"""A run and its folder: start, resume, record, open again."""
