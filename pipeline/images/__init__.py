"""Data sets: where images come from, how they are divided, and the only decoder."""
