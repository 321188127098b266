"""The matrix of `scumble bench`: which cells there are, and what each took."""
