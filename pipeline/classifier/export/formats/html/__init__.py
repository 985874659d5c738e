"""One HTML file with a model in it, what runs it, and its labels; opens from a disk, offline."""
