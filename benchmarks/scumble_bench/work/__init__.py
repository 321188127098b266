"""Work that is done piece by piece, by one process or many, and taken up again after a crash."""
