"""A list of edits, checked line by line, and made by one process or many."""
