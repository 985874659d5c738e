"""Stage one: identify, embed, and the feature file that keeps the rows."""
